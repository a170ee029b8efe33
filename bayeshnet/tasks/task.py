"""Split and Task: records of the data of one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..checks import check_device, check_dtype
from ..errors import (
    check_choice,
    check_instance,
    check_ints,
    check_size,
    type_error,
    value_error,
)

__all__ = ["KINDS", "LAYOUTS", "Split", "Task", "check_place", "moved"]

KINDS = ("classification", "regression")
LAYOUTS = ("CHW", "HWC")


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
        check_place(device, dtype)
        return Split(moved(self.x, device, dtype), moved(self.y, device, dtype))


def check_place(device: Any, dtype: Any) -> None:
    """Refuse a device that is not there, and what is no floating dtype."""
    check_device("device", device)
    check_dtype("dtype", dtype)


def moved(t: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor on another device, and with another dtype if it is floating."""
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
        info: further facts for networks, figures and metrics, such as the noise of the targets or the range to plot. Of
            images, flattened or not: ``"layout"``, either ``"CHW"`` (channels first, as in torch) or ``"HWC"``, and
            ``"image_shape"``, always ``(C, H, W)``.
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
        self._check_layout()
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

    def _check_layout(self) -> None:
        if self.layout is None:
            return
        check_choice("info['layout']", self.layout, LAYOUTS)
        image = tuple(self.info.get("image_shape", ()))
        if len(image) == 3 and len(self.input_shape) == 3:
            expected = image if self.layout == "CHW" else (*image[1:], image[0])
            if self.input_shape != expected:
                where = f"inputs of task {self.name!r}"
                raise value_error(where, expected=f"images {expected} as info says", got=self.train.x)

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

    @property
    def layout(self) -> str | None:
        """Layout of images as :attr:`info` says it: ``"CHW"`` or ``"HWC"``; None where it says nothing."""
        return self.info.get("layout")

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
