"""Task: the record of the data of one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import check_choice, check_instance, check_ints, check_size, value_error
from .split import Split, check_place, moved

__all__ = ["KINDS", "LAYOUTS", "Split", "Task", "check_place", "moved"]

KINDS = ("classification", "regression")
"""Kinds of tasks."""

LAYOUTS = ("CHW", "HWC")
"""Orders of the dimensions of an image: channels first, as in torch, or last."""


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
                object.__setattr__(self, part, split.with_targets(split.y.unsqueeze(-1)))
        for part, split in self.splits().items():
            if split.input_shape != self.input_shape:
                expected = f"inputs of shape {self.input_shape} as in train"
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
                raise value_error(where, expected=f"images {expected} as info says", found=f"shape {self.input_shape}")

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
    def input_shape(self) -> Any:
        """Shape of one input, or a tuple of shapes if there are several inputs."""
        return self.train.input_shape

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
