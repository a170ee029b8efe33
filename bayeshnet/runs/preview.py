"""A look at a run before it begins: what it is composed of, how many parameters, and about how much memory and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast, final

from torch import Tensor, nn

from ..checks import check_seed
from ..continual import LearnerState
from ..continual.learner import check_widths
from ..errors import check_instance
from ..inference import Callback, Run
from ..tasks import TaskStream
from .execution import threads
from .experiment import Experiment

__all__ = ["Preview", "preview"]

_STEPS: Final = 8
_WARM: Final = 3
"""Steps that are made, and those of them that are not timed."""


@dataclass(frozen=True)
class Preview:
    """Parts of a run, and the memory and time that it takes.

    Attributes:
        learner: the learner with all its settings.
        tasks: number of tasks.
        examples: number of training examples of all tasks.
        parameters: trained parameters of each part of the state, after all tasks.
        memory: bytes of the parameters with gradients and two moments of Adam, the buffers, and the data; the
            activations of a step, which depend on the device, come on top.
        steps: planned optimizer steps of all tasks; 0 for a learner that makes none.
        seconds_per_step: median over a few steps of the first task; without steps, the time of that task.
    """

    learner: str
    tasks: int
    examples: int
    parameters: Mapping[str, int]
    memory: int
    steps: int
    seconds_per_step: float

    @property
    def seconds(self) -> float:
        """Estimated time of all steps, or tasks, if later ones take as long as those of the first task."""
        return (self.steps or self.tasks) * self.seconds_per_step


@final
class _Watch:
    """Callback that times the steps of a training and stops it after a few."""

    def __init__(self) -> None:
        self.planned = 0
        self.times: list[float] = []

    def on_start(self, run: Run) -> None:
        self.planned += run.num_steps
        self.before = time.perf_counter()

    def on_step(self, run: Run) -> None:
        _ = run.parts  # waits for a device
        now = time.perf_counter()
        if run.step > _WARM or run.step == run.num_steps:
            self.times.append(now - self.before)
        self.before = now
        if run.step >= _STEPS:
            run.stop("preview")

    def on_end(self, run: Run) -> None:
        """Do nothing."""


def preview(experiment: Experiment, stream: TaskStream) -> Preview:
    """Make a few steps of the first task, and count what the state holds after all tasks.

    Args:
        experiment: settings of the run.
        stream: its stream.

    Example:
        >>> from bayeshnet.builders import MeanFieldWeights, MLPNetwork
        >>> from bayeshnet.continual import Separate, Training
        >>> learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=Training(steps=100), num_samples=5)
        >>> experiment = Experiment(learner, data="modes2d")
        >>> seen = preview(experiment, experiment.stream())
        >>> seen.tasks, seen.steps, seen.parameters  # 22 weights with means and standard deviations, for each task
        (3, 300, {'posterior': 132})
    """
    check_instance("experiment", experiment, Experiment, "an Experiment")
    check_instance("stream", stream, TaskStream, "a TaskStream")
    learner, watch = experiment.learner, _Watch()
    check_widths(learner, stream)
    begin = time.perf_counter()
    with threads(experiment.threads):
        learner.learn(None, stream[0], seed=check_seed("seed", experiment.seed, 0), callbacks=[cast(Callback, watch)])
        whole = time.perf_counter() - begin
        state = learner.restore(stream[0], len(stream))
    trained = [p for p in state.parameters() if p.requires_grad]
    memory = 4 * _bytes(trained) + _bytes(state.buffers()) + _bytes(_data(stream))
    return Preview(
        learner=repr(learner),
        tasks=len(stream),
        examples=sum(len(task.train) for task in stream),
        parameters=_counts(state),
        memory=memory,
        steps=watch.planned * len(stream),
        seconds_per_step=statistics.median(watch.times or [whole]),
    )


def _counts(state: LearnerState) -> dict[str, int]:
    """Return the numbers of trained parameters of the parts that have some."""
    found = {name: sum(p.numel() for p in _trained(part)) for name, part in state.named_children()}
    return {name: count for name, count in found.items() if count}


def _trained(part: nn.Module) -> Iterator[Tensor]:
    return (p for p in part.parameters() if p.requires_grad)


def _data(stream: TaskStream) -> Iterator[Tensor]:
    for task in stream:
        for split in task.splits().values():
            yield from (split.x, split.y)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
