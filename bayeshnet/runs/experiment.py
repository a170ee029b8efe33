"""The settings of a run: a learner and the stream of tasks that it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..checks import check_mapping, check_path, check_seed, check_text
from ..continual import Learner
from ..data import STREAMS, drawn_options, get_stream
from ..data.own import is_own, split_name
from ..deprecation import moved_names
from ..errors import check_choice, check_instance, check_int, type_error, value_error
from ..files import check_file_name
from ..tasks import TaskStream

__all__ = ["Experiment", "OptionValue", "resolve_device"]

__getattr__ = moved_names(
    __name__,
    {
        "Listener": "runs.Listener",
        "execute": "runs.execution.execute",
    },
)

OptionValue = bool | int | float | str | None | list[bool | int | float | str]
"""An option of a stream: a plain value of which no object is built."""

_MOST_THREADS = 1024


@dataclass(frozen=True)
class Experiment:
    """The settings of a run: a learner and the stream of tasks that it learns.

    Args:
        learner: the learner with all its settings.
        data: name of the stream (``bayeshnet list`` shows all), or ``module:function`` for a function of your own that
            returns a :class:`~bayeshnet.tasks.TaskStream`.
        data_dir: folder with the files of the data set, for streams that read files.
        data_options: further options of the stream, by name: numbers, texts, truth values, None, or lists of such.
        method: name of the method in tables and file names: no path, at most 100 characters.
        seed: seed of all random choices. It also draws the data of a named stream, their split and the order of the
            classes, unless ``data_options`` has a ``data_seed``; seed 0 draws the default split and order.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for the first of CUDA, MPS and the CPU that is available.
        threads: number of CPU threads of torch during the run, at most 1024; small networks are fastest with one.
        judge_on: examples on which the tasks are assessed: ``test``, or ``validation`` while settings are being chosen.
            The stream's option ``validation_fraction`` or ``num_validation`` sets validation examples aside.
    """

    learner: Learner
    data: str = "split-digits"
    data_dir: Path | None = None
    data_options: dict[str, OptionValue] = field(default_factory=dict)
    method: str = "posterior-replay"
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    judge_on: str = "test"

    def __post_init__(self) -> None:
        """Check the learner, names, numbers, the split and the device."""
        check_instance("learner", self.learner, Learner, "a Learner")
        for argument in ("data", "method"):
            name = check_text(argument, getattr(self, argument), "a name")
            if argument == "data" and is_own(name):
                split_name(name)
            else:
                check_file_name(argument, name)
        if self.data_dir is not None:
            check_path("data_dir", self.data_dir, "a folder, or None")
        if self.data_options is not None:
            check_mapping("data_options", self.data_options, "a mapping of options of the stream")
        check_seed("seed", self.seed, 0)
        if check_int("threads", self.threads, 1) > _MOST_THREADS:
            raise value_error("threads", expected=f"an integer from 1 to {_MOST_THREADS}", got=self.threads)
        check_choice("judge_on", self.judge_on, ("test", "validation"))
        resolve_device(self.device)

    def stream(self) -> TaskStream:
        """Build the stream on the device."""
        if not is_own(self.data):
            check_choice("data", self.data, STREAMS)
        given = dict(self.data_options or {})
        options: dict[str, OptionValue | Path] = {**given, **drawn_options(self.data, self.seed, given)}
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        return get_stream(self.data, **options).judged_on(self.judge_on).to(resolve_device(self.device))


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` picks CUDA, MPS or the CPU.

    Raises:
        ValueError: if there is no such device, or tensors on it hold no data.
    """
    if not isinstance(name, (str, torch.device)):
        raise type_error("device", expected="a text, such as 'auto' or 'cpu'", got=name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    expected = "'auto', or a device of this machine such as 'cpu', 'cuda', 'cuda:1' or 'mps'"
    try:
        device = torch.device(name)
        holds_data = not torch.empty(1, device=device).is_meta
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        cause = str(error).partition("\n")[0].rstrip(".")
        raise value_error("device", expected=expected, got=name, hint=f"Its use fails: {cause}.") from error
    if not holds_data:
        raise value_error("device", expected=expected, got=name, hint="Tensors on it hold no data.")
    return device
