"""Task and TaskStream: records of the data of one task, and of tasks in the order in which they are learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .checks import check_all, check_device, check_dtype
from .errors import (
    check_choice,
    check_instance,
    check_ints,
    check_size,
    type_error,
    value_error,
)

__all__ = ["KINDS", "SCENARIOS", "Split", "Task", "TaskStream"]

KINDS = ("classification", "regression")
SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class Split:
    """Inputs ``x`` ``(N, *input_shape)`` and targets ``y``: class indices ``(N,)``, or values ``(N, C)``.

    Integer and boolean targets become ``int64``. Integer inputs, such as tokens, stay integers.

    Example:
        >>> Split(torch.randn(2, 3), torch.tensor([True, False])).y
        tensor([1, 0])
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        """Refuse empty and mismatched tensors."""
        if not isinstance(self.x, Tensor) or not isinstance(self.y, Tensor):
            raise type_error(
                "x and y",
                expected="tensors",
                found=f"{type(self.x).__name__} and {type(self.y).__name__}",
                hint="Networks of several inputs are trained by fit.",
            )
        if self.x.ndim == 0 or self.y.ndim == 0:
            raise value_error("x and y", expected="one row per example", found="a tensor without dimensions")
        if self.x.is_complex() or self.y.is_complex():
            raise type_error("x and y", expected="real tensors", found="complex ones")
        if len(self.x) != len(self.y):
            raise value_error("y", expected=f"as many targets as inputs ({len(self.x)})", found=f"{len(self.y)}")
        if len(self.x) == 0:
            raise value_error("x", expected="at least one example in each split of a task", found="none")
        if not self.y.is_floating_point() and self.y.dtype != torch.int64:
            object.__setattr__(self, "y", self.y.to(torch.int64))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    def __repr__(self) -> str:
        """Show the shapes."""
        return f"Split(x=tensor{tuple(self.x.shape)}, y=tensor{tuple(self.y.shape)})"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Split:
        """Return the split on another device or with another dtype, which applies to floating tensors only."""
        _check_place(device, dtype)
        return Split(_moved(self.x, device, dtype), _moved(self.y, device, dtype))


def _check_place(device: Any, dtype: Any) -> None:
    check_device("device", device)
    check_dtype("dtype", dtype)


def _moved(t: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    return t.to(device=device, dtype=dtype if t.is_floating_point() else None)


@dataclass(frozen=True)
class Task:
    """One task: data, kind and, for classes, the global label of each output.

    Args:
        name: name in tables and figures.
        train: training examples.
        test: test examples; for synthetic regression their targets may be free of noise.
        num_outputs: number ``C`` of classes or of target values; a single value may be ``(N,)``.
        kind: ``"classification"`` or ``"regression"``.
        labels: global label of each of the ``C`` classes; by default ``0..C-1``.
        validation: examples for choosing settings, if any.
        info: further facts for figures and metrics, such as the noise of the targets or the range to plot.
    """

    name: str
    train: Split
    test: Split
    num_outputs: int
    kind: str = "classification"
    labels: tuple[int, ...] | None = None
    validation: Split | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse labels outside the range, float labels and splits of different input shape."""
        check_choice("kind", self.kind, KINDS)
        check_size("num_outputs", self.num_outputs, 1)
        check_instance("info", self.info, Mapping, "a dict")
        for part in ("train", "test", "validation"):
            if part != "validation" or self.validation is not None:
                check_instance(part, getattr(self, part), Split, "a Split of inputs and targets")
        for part, split in self.splits().items():
            if self.kind == "regression" and self.num_outputs == 1 and split.y.ndim == 1:
                object.__setattr__(self, part, Split(split.x, split.y.unsqueeze(-1)))
        for part, split in self.splits().items():
            if split.x.shape[1:] != self.train.x.shape[1:]:
                expected = f"inputs of shape {tuple(self.train.x.shape[1:])} as in train"
                raise value_error(f"{part} of task {self.name!r}", expected=expected, got=split.x)
            self._check_targets(part, split.y)
        if self.kind == "classification":
            labels = tuple(range(self.num_outputs)) if self.labels is None else _labels(self.labels)
            if len(labels) != self.num_outputs or len(set(labels)) != len(labels):
                raise value_error("labels", expected=f"{self.num_outputs} distinct labels", got=labels)
            object.__setattr__(self, "labels", labels)

    def _check_targets(self, part: str, y: Tensor) -> None:
        where = f"{part}, targets of task {self.name!r}"
        if self.kind == "regression":
            if y.ndim != 2 or y.shape[1] != self.num_outputs or not y.is_floating_point():
                raise value_error(where, expected=f"a floating tensor of shape (N, {self.num_outputs})", got=y)
            return
        if y.ndim != 1 or y.is_floating_point():
            raise value_error(where, expected="class indices of shape (N,)", got=y)
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= self.num_outputs:
            expected = f"class indices from 0 to {self.num_outputs - 1}"
            raise value_error(
                where,
                expected=expected,
                found=f"values from {low} to {high}",
                hint="Number the classes of each task from 0.",
            )

    def splits(self) -> dict[str, Split]:
        """Return the splits that exist, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in parts.items() if split is not None}

    def judged_on(self, split: str) -> Task:
        """Return the task, with its validation examples as test examples if ``split`` is ``"validation"``."""
        if check_choice("split", split, ("test", "validation")) == "test":
            return self
        if self.validation is None:
            expected = "validation examples in each task"
            advice = "Set some aside with the stream's option validation_fraction or num_validation."
            raise value_error("split", expected=expected, found=f"none in task {self.name!r}", hint=advice)
        return replace(self, test=self.validation, validation=None)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train.x.shape[1:])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Task:
        """Return the task with all splits on another device or with another dtype."""
        parts = {name: split.to(device, dtype) for name, split in self.splits().items()}
        return Task(
            self.name,
            parts["train"],
            parts["test"],
            self.num_outputs,
            self.kind,
            self.labels,
            parts.get("validation"),
            self.info,
        )


def _labels(labels: Any) -> tuple[int, ...]:
    """Return labels, a tensor and an array among others, as a tuple of integers."""
    dense = hasattr(labels, "tolist") and not (isinstance(labels, Tensor) and labels.layout is not torch.strided)
    return tuple(check_ints("labels", labels.tolist() if dense else labels))


class TaskStream(Sequence[Task]):
    """Tasks in the order in which they are learned.

    Args:
        tasks: at least one, all of one kind, one input shape and one number of outputs.
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
            for what in ("kind", "input_shape", "num_outputs"):
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
        return self.tasks[0].kind

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.tasks[0].input_shape

    @property
    def num_outputs(self) -> int:
        """Number of outputs per task."""
        return self.tasks[0].num_outputs

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> TaskStream:
        """Return the stream with all tasks and outliers on another device or with another dtype."""
        _check_place(device, dtype)
        outliers = {k: _moved(x, device, dtype) for k, x in self.outliers.items()}
        return TaskStream([t.to(device, dtype) for t in self.tasks], self.name, self.scenario, outliers)
