"""The state of a learner: one module that is saved, loaded and moved as a whole."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..deprecation import RenamedState
from ..errors import value_error
from ..guides import Likelihood
from ..mnets import MainNetInterface
from ..mnets.running_statistics import ConditionStatistics
from ..tasks import Task
from .task_inference.density import TaskDensity
from .task_posterior import TaskPosterior

__all__ = ["LearnerState"]


class LearnerState(RenamedState, nn.Module):
    """Everything that a learner has learned.

    Args:
        net: main network.
        likelihood: likelihood of the targets given the network's outputs; may have learned parameters.
        posterior: weight posterior, called with the number of a task.
        task: any task of the stream; all have its kind, input shape and number of outputs.

    Attributes:
        memory: module with what a learner keeps of old tasks besides posteriors and densities, such as stored examples;
            or None.
        statistics: statistics of batch norm for each task learned, if the network has any and the learner keeps them;
            the network's own are those that it begins with, or those of all tasks.
        labels: global labels of the classes, one tuple per task learned (empty for regression).
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input.
        layout: layout of images, as the first task said it; see :attr:`Task.layout <bayeshnet.tasks.Task.layout>`.
        num_outputs: number of classes or of target values of each task.
    """

    net: MainNetInterface
    likelihood: Likelihood
    posterior: TaskPosterior

    def __init__(self, net: MainNetInterface, likelihood: Likelihood, posterior: TaskPosterior, task: Task) -> None:
        super().__init__()
        self.net = net
        self.likelihood = likelihood
        self.posterior = posterior
        self.memory: nn.Module | None = None
        self.statistics: ConditionStatistics | None = None
        self._densities = nn.ModuleList()
        self.labels: list[tuple[int, ...]] = []
        self.kind = task.kind
        self.input_shape = task.input_shape
        self.layout = task.layout
        self.num_outputs = task.num_outputs

    @property
    def densities(self) -> list[TaskDensity]:
        """Densities of the inputs, one per task learned."""
        return [density for density in self._densities if isinstance(density, TaskDensity)]

    @property
    def num_tasks(self) -> int:
        """Number of tasks learned so far."""
        return len(self._densities)

    def check(self, task: Task) -> None:
        """Check that ``task`` has the kind and the shapes of the tasks learned before."""
        for what in ("kind", "input_shape", "num_outputs"):
            if getattr(task, what) != getattr(self, what):
                raise value_error(
                    f"task {task.name!r}", expected=f"{what} {getattr(self, what)} as before", got=getattr(task, what)
                )
        if None not in (task.layout, self.layout) and task.layout != self.layout:
            raise value_error(f"task {task.name!r}", expected=f"layout {self.layout!r} as before", got=task.layout)

    def record_task(self, task: Task, density: TaskDensity) -> None:
        """Record that ``task`` has been learned, with the density of its inputs."""
        self._densities.append(density)
        if self.statistics is not None:
            self.statistics.grow(self.net, self.num_tasks)
        self.labels.append(task.labels or ())

    @contextmanager
    def statistics_of(self, task_id: int, new: bool = False) -> Iterator[None]:
        """Let the network use the statistics of a task within the context, if they are kept.

        Args:
            task_id: number of the task.
            new: True to begin a set for a task that has none.
        """
        if self.statistics is None:
            yield
            return
        if new:
            self.statistics.grow(self.net, task_id + 1)
        with self.statistics.of(self.net, task_id):
            yield

    def complete_state(self, state: MutableMapping[str, Any], prefix: str) -> None:
        """Give each task the statistics of the network where a state was saved without those of tasks."""
        if self.statistics is not None:
            self.statistics.complete(state, f"{prefix}statistics.", f"{prefix}net.")

    def extra_repr(self) -> str:
        """Show the number of tasks and their common shapes."""
        return f"num_tasks={self.num_tasks}, {self.kind}, {self.input_shape} -> {self.num_outputs}"
