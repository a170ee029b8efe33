"""The state of a learner: one module that is saved, loaded and moved as a whole."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..deprecation import RenamedState
from ..errors import check_instance, check_int, value_error
from ..guides import Likelihood
from ..mnets import MainNetInterface
from ..mnets.running_statistics import ConditionStatistics
from ..tasks import Task
from .saved import TaskShape, describe, write_state
from .task_inference.density import TaskDensity
from .task_inference.evidence import TaskEvidence
from .task_posterior import TaskPosterior

__all__ = ["LearnerState"]


class LearnerState(RenamedState, nn.Module):
    """Everything that a learner has learned.

    It is saved as a whole, with the settings of its learner, by :meth:`save`, and loaded by
    :func:`~bayeshnet.continual.load_state`. Its ``state_dict`` holds the labels beside the parameters.

    Args:
        net: main network.
        likelihood: likelihood of the targets given the network's outputs; may have learned parameters.
        posterior: weight posterior, called with the number of a task.
        task: any task of the stream; all have its kind and input shape.
        num_outputs: number of classes of the widest task, or of target values; that of ``task`` if None.

    Attributes:
        memory: module with what a learner keeps of old tasks besides posteriors and densities, such as stored examples;
            or None.
        evidence: sums over features of all tasks and the weights of the combined score, for task inference; or None.
        statistics: statistics of batch norm for each task learned, if the network has any and the learner keeps them;
            the network's own are those that it begins with, or those of all tasks.
        labels: global labels of the classes, one tuple per task learned (empty for regression).
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input.
        layout: layout of images, as the first task said it; see :attr:`Task.layout <bayeshnet.tasks.Task.layout>`.
        num_outputs: number of classes of the widest task, or of target values of each task.
        sizes: number of classes or target values of each task, that in training included.
        shape: kind and sizes of the tasks, with the dtype of their inputs.
        learner: the learner that learned it last; None if that did not say so.
    """

    net: MainNetInterface
    likelihood: Likelihood
    posterior: TaskPosterior

    def __init__(
        self,
        net: MainNetInterface,
        likelihood: Likelihood,
        posterior: TaskPosterior,
        task: Task,
        num_outputs: int | None = None,
    ) -> None:
        super().__init__()
        check_instance("net", net, nn.Module, "a main network")
        check_instance("likelihood", likelihood, Likelihood, "a Likelihood")
        check_instance("posterior", posterior, nn.Module, "a posterior of tasks")
        check_instance("task", task, Task, "a Task")
        self.net = net
        self.likelihood = likelihood
        self.posterior = posterior
        self.memory: nn.Module | None = None
        self.evidence: TaskEvidence | None = None
        self.statistics: ConditionStatistics | None = None
        self._densities = nn.ModuleList()
        self.labels: list[tuple[int, ...]] = []
        self.kind = task.kind
        self.input_shape = task.input_shape
        self.layout = task.layout
        self.num_outputs = task.num_outputs if num_outputs is None else check_int("num_outputs", num_outputs, 1)
        self.sizes: list[int] = []
        self.shape = TaskShape.of(task)
        self.learner: Any = None

    @property
    def densities(self) -> list[TaskDensity]:
        """Densities of the inputs, one per task learned."""
        return [density for density in self._densities if isinstance(density, TaskDensity)]

    @property
    def num_tasks(self) -> int:
        """Number of tasks learned so far."""
        return len(self._densities)

    def check(self, task: Task) -> None:
        """Check that ``task`` has the kind and the shapes of the tasks before, and no more classes than outputs."""
        classes = task.kind == self.kind == "classification"
        if classes and task.num_outputs > self.num_outputs:
            advice = f"Pass num_outputs={task.num_outputs}, the classes of the widest task, to the learner."
            raise value_error(
                f"task {task.name!r}", expected=f"at most {self.num_outputs} classes", got=task.num_outputs, hint=advice
            )
        for what in ("kind", "input_shape", *(() if classes else ("num_outputs",))):
            if getattr(task, what) != getattr(self, what):
                raise value_error(
                    f"task {task.name!r}", expected=f"{what} {getattr(self, what)} as before", got=getattr(task, what)
                )
        if None not in (task.layout, self.layout) and task.layout != self.layout:
            raise value_error(f"task {task.name!r}", expected=f"layout {self.layout!r} as before", got=task.layout)

    def record_task(self, task: Task, density: TaskDensity) -> None:
        """Record that ``task`` has been learned, with the density of its inputs."""
        self.begin_task(task)
        self._densities.append(density)
        if self.statistics is not None:
            self.statistics.grow(self.net, self.num_tasks)
        self.labels.append(task.labels or ())

    def begin_task(self, task: Task) -> None:
        """Note the number of classes of the task that is learned next."""
        self.sizes = [*self.sizes[: self.num_tasks], task.num_outputs]

    def outputs_of(self, task_id: int) -> int:
        """Return the number of outputs of task ``task_id``: the first ones of its block."""
        return self.likelihood.num_outputs(self.sizes[task_id])

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
        """Give each task the statistics of the network where a state was saved without those of tasks.

        A state that was saved without labels, or before evidence was kept, leaves these as they are.
        """
        if self.evidence is not None and not any(name.startswith(f"{prefix}evidence.") for name in state):
            state.update({f"{prefix}evidence.{name}": value for name, value in self.evidence.state_dict().items()})
        state.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        if self.statistics is not None:
            self.statistics.complete(state, f"{prefix}statistics.", f"{prefix}net.")

    def extra_repr(self) -> str:
        """Show the number of tasks and their common shapes."""
        return f"num_tasks={self.num_tasks}, {self.kind}, {self.input_shape} -> {self.num_outputs}"

    def save(self, folder: str | Path, *, learner: Any = None) -> Path:
        """Save the state, with the settings of its learner, the labels and the versions, for ``load_state(folder)``.

        A state that was saved in the folder before is replaced in one step; other files are left alone. Where the
        learner has a part that files cannot describe, such as a network of a class of your own,
        ``load_state(folder, learner=...)`` takes the learner again, and a warning of the logger ``bayeshnet`` names the
        part; learners and settings of your own take ``load_state(folder, allow=["my_package"])``.

        Args:
            folder: the folder, which is created if necessary.
            learner: the learner, for states that do not know theirs.

        Returns:
            The folder.

        Raises:
            ValueError: if the learner is not known, or ``folder`` is a file.
        """
        learner = self.learner if learner is None else learner
        if learner is None:
            advice = "Pass save(folder, learner=...)."
            raise value_error("learner", expected="the learner of the state", got=None, hint=advice)
        return write_state(folder, self, self.shape.at_precision(self._dtype()), describe(learner))

    def _dtype(self) -> str:
        floating = [p.dtype for p in self.parameters() if p.is_floating_point()]
        return str(floating[0] if floating else torch.get_default_dtype()).removeprefix("torch.")

    def get_extra_state(self) -> Tensor:
        """Return the labels for the ``state_dict``: a row per task, with their number first."""
        width = max([self.num_outputs, *map(len, self.labels)]) if self.kind == "classification" else 0
        rows = [[len(labels), *labels, *[0] * (width - len(labels))] for labels in self.labels]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, width + 1)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the labels from a ``state_dict``."""
        self.labels = [tuple(row[1 : row[0] + 1]) for row in state.tolist()]
        if self.kind == "classification":
            self.sizes = [len(labels) for labels in self.labels]

    def __deepcopy__(self, memo: dict[int, Any]) -> LearnerState:
        """Copy everything but the learner, which holds settings only."""
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        memo[id(self.learner)] = self.learner
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other
