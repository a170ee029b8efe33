"""One run: a learner learns a stream, is assessed after each task, and leaves a folder from which it can be resumed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..continual import Learner, LearnerState
from ..data import get_stream
from ..errors import check_choice, check_int, value_error
from ..inference import Callback
from ..rng import derive_seed
from ..tasks import TaskStream
from .assessment import assess
from .curves import Curves
from .folder import RunFolder

__all__ = ["Experiment", "Listener", "execute", "resolve_device"]


@dataclass(frozen=True)
class Experiment:
    """A learner and the stream that it is to learn.

    Args:
        learner: how the tasks are learnt.
        data: name of the stream, see ``bayeshnet list``.
        data_dir: folder of the data set's files, for streams that need one.
        data_options: further options of the stream, by name.
        method: a name for tables.
        seed: of everything random but the data.
        device: ``auto`` picks CUDA, MPS or the CPU.
        threads: of torch on the CPU while the experiment runs; small networks are fastest with one.
        judge_on: ``test``, or ``validation`` while settings are being chosen; the stream's option
            ``validation_fraction`` or ``num_validation`` sets examples aside for it.
    """

    learner: Learner
    data: str = "split-digits"
    data_dir: Path | None = None
    data_options: dict[str, Any] = field(default_factory=dict)
    method: str = "posterior-replay"
    seed: int = 0
    device: str = "auto"
    threads: int = 1
    judge_on: str = "test"

    def __post_init__(self) -> None:
        """Check the numbers, the split and the device."""
        check_int("seed", self.seed, 0)
        check_int("threads", self.threads, 1)
        check_choice("judge_on", self.judge_on, ("test", "validation"))
        resolve_device(self.device)

    def stream(self) -> TaskStream:
        """The stream, on the device."""
        options = dict(self.data_options or {})
        if self.data_dir is not None:
            options["data_dir"] = self.data_dir
        return get_stream(self.data, **options).judged_on(self.judge_on).to(resolve_device(self.device))


class Listener:
    """Is told how a run goes on; this one keeps silent."""

    def callbacks(self, number: int, stream: TaskStream) -> list[Callback]:
        """Callbacks of the training of task ``number``."""
        return []

    def task_done(self, number: int, stream: TaskStream, record: dict[str, Any]) -> None:
        """Task ``number`` was learnt and assessed."""


def resolve_device(name: str) -> torch.device:
    """The device of a name; ``auto`` picks CUDA, MPS or the CPU."""
    if name != "auto":
        try:
            return torch.device(name)
        except RuntimeError:
            raise value_error("device", expected="'auto', 'cpu', 'cuda' or 'mps'", got=name) from None
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def execute(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, listener: Listener | None = None
) -> tuple[LearnerState, list[dict[str, Any]]]:
    """Learn what is left of the stream, saving after each task.

    Args:
        experiment: what to run.
        folder: an existing folder; tasks whose checkpoint is complete are loaded from it, not learnt again.
        stream: the experiment's stream.
        listener: told about progress.

    Returns:
        The state after the last task, and one record per task.
    """
    listener = listener or Listener()
    state, records = _load(experiment, folder, stream)
    device = stream[0].train.x.device
    for number in range(len(records), len(stream)):
        begin = time.perf_counter()
        seed = derive_seed(experiment.seed, number)
        curves = Curves()
        callbacks = [*listener.callbacks(number, stream), curves]
        state = experiment.learner.learn(state, stream[number], seed=seed, callbacks=callbacks).to(device)
        trained = time.perf_counter() - begin
        record = assess(experiment.learner, state, stream, seed=derive_seed(experiment.seed, number, 1))
        record["seconds"] = {"train": trained, "assess": time.perf_counter() - begin - trained}
        record["curves"] = curves.record
        records.append(record)
        folder.save_task(number + 1, state, {"records": records, "labels": [list(x) for x in state.labels]})
        listener.task_done(number, stream, record)
    if state is None:
        raise value_error("stream", expected="at least one task", found="none")
    return _finish(experiment, folder, stream, state, records)


def _finish(
    experiment: Experiment, folder: RunFolder, stream: TaskStream, state: LearnerState, records: list[dict[str, Any]]
) -> tuple[LearnerState, list[dict[str, Any]]]:
    """What the learner does when all tasks are learnt, if anything; the last record then tells of what came of it."""
    begin, number = time.perf_counter(), len(stream)
    finished = experiment.learner.finish(state, seed=derive_seed(experiment.seed, number, 4))
    if finished is state:
        return state, records
    trained = time.perf_counter() - begin
    record = assess(experiment.learner, finished, stream, seed=derive_seed(experiment.seed, number - 1, 1))
    record["seconds"] = {"train": records[-1]["seconds"]["train"] + trained, "assess": records[-1]["seconds"]["assess"]}
    record["curves"] = records[-1]["curves"]
    records = [*records[:-1], record]
    folder.save_finished(finished, {"records": records, "labels": [list(x) for x in finished.labels]})
    return finished, records


def _load(
    experiment: Experiment, folder: RunFolder, stream: TaskStream
) -> tuple[LearnerState | None, list[dict[str, Any]]]:
    done = folder.last_task()
    if done == 0:
        return None, []
    state = experiment.learner.restore(stream[0], done)
    saved = folder.load_task(done, state)
    state.labels = [tuple(labels) for labels in saved["labels"]]
    return state.to(stream[0].train.x.device), list(saved["records"])
