"""TaskStream: tasks in the order in which they are learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_all
from ..errors import check_choice, check_instance, check_ints, value_error
from .task import Task, check_place, moved

__all__ = ["SCENARIOS", "TaskStream"]

SCENARIOS = ("task", "domain", "class")
"""Knowledge and questions at test time: the task is given; it is not needed; it is to be found as well."""


class TaskStream(Sequence[Task]):
    """Tasks in the order in which they are learned.

    Args:
        tasks: at least one, all of one kind, one input shape and layout; those of values have one number of outputs,
            those of classes may have different numbers of them.
        name: name of the stream.
        scenario: ``"task"`` (the task is given at test time), ``"domain"`` (same classes, other inputs) or ``"class"``
            (the task has to be inferred as well).
        outliers: out-of-distribution inputs, which belong to none of the tasks: ``{name: (N, *input_shape)}``.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        name: str = "stream",
        scenario: str = "class",
        outliers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.tasks = tuple(check_all("tasks", tasks, Task, "a list of tasks"))
        self.name = name
        self.scenario = check_choice("scenario", scenario, SCENARIOS)
        self.outliers = dict({} if outliers is None else check_instance("outliers", outliers, Mapping, "a dict"))
        if not self.tasks:
            raise value_error("tasks", expected="at least one task", found="none")
        first = self.tasks[0]
        for task in self.tasks[1:]:
            same = ("kind", "input_shape", "layout", *(("num_outputs",) if first.kind == "regression" else ()))
            for what in same:
                if getattr(task, what) != getattr(first, what):
                    expected = f"{what} {getattr(first, what)} as in task {first.name!r}"
                    raise value_error(f"tasks, task {task.name!r}", expected=expected, got=getattr(task, what))
        for key, x in self.outliers.items():
            check_instance(f"outliers {key!r}", x, Tensor, "a tensor of inputs")
            if not x.ndim or tuple(x.shape[1:]) != first.input_shape:
                raise value_error(f"outliers {key!r}", expected=f"inputs of shape {first.input_shape}", got=x)

    def reordered(self, order: Sequence[int] | None) -> TaskStream:
        """Return the tasks, or some of them, in another order.

        Args:
            order: numbers of tasks, each at most once; None keeps all in their order.
        """
        if order is None:
            return self
        chosen = check_ints("order", order, 0)
        if not chosen or len(set(chosen)) != len(chosen) or max(chosen) >= len(self.tasks):
            raise value_error(
                "order", expected=f"distinct numbers below the {len(self.tasks)} tasks, at least one", got=order
            )
        return TaskStream([self.tasks[i] for i in chosen], self.name, self.scenario, self.outliers)

    def judged_on(self, split: str) -> TaskStream:
        """Return the stream with the validation examples of its tasks as test examples, for choosing settings.

        No validation examples remain: thresholds that would be calibrated on them, such as those of abstention, are
        calibrated on training examples instead.

        Args:
            split: ``"validation"``, or ``"test"`` for the unchanged stream.

        Raises:
            ValueError: if a task has no validation examples.

        Example:
            >>> from bayeshnet.data import split_digits
            >>> stream = split_digits(validation_fraction=0.2)
            >>> len(stream.judged_on("validation")[0].test) == len(stream[0].validation)
            True
        """
        tasks = [task.judged_on(split) for task in self.tasks]
        return TaskStream(tasks, self.name, self.scenario, self.outliers)

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.tasks)

    def __repr__(self) -> str:
        """Show the names of the tasks and of the outliers."""
        tasks, outliers = [task.name for task in self.tasks], list(self.outliers)
        return f"TaskStream(tasks={tasks}, name={self.name!r}, scenario={self.scenario!r}, outliers={outliers})"

    def __getitem__(self, index: Any) -> Any:
        """Return one task, or a stream of a slice of the tasks."""
        if isinstance(index, slice):
            return TaskStream(self.tasks[index], self.name, self.scenario, self.outliers)
        return self.tasks[index]

    def __iter__(self) -> Iterator[Task]:
        """Iterate over the tasks in order."""
        return iter(self.tasks)

    @property
    def kind(self) -> str:
        """Kind of all tasks."""
        found: str = self.tasks[0].kind
        return found

    @property
    def input_shape(self) -> Any:
        """Shape of one input, or a tuple of shapes if there are several inputs."""
        return self.tasks[0].input_shape

    @property
    def layout(self) -> str | None:
        """Layout of images: ``"CHW"``, ``"HWC"``, or None where the tasks do not say."""
        found: str | None = self.tasks[0].layout
        return found

    @property
    def num_outputs(self) -> int:
        """Number of classes of the widest task, or of target values."""
        found: int = max(task.num_outputs for task in self.tasks)
        return found

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TaskStream:
        """Return the stream with all tasks and outliers on another device or with another dtype."""
        check_place(device, dtype)
        outliers = {k: moved(x, device, dtype) for k, x in self.outliers.items()}
        return TaskStream([t.to(device, dtype) for t in self.tasks], self.name, self.scenario, outliers)
