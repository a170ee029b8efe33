"""Progress of a run as it is saved beside a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..tasks import Split, Task
from .results.records import Assessment

__all__ = ["Progress", "TaskShape"]


@dataclass(frozen=True)
class TaskShape:
    """Kind and sizes of the tasks of a stream: what is needed to rebuild a learner's state without the data.

    Args:
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input.
        num_outputs: classes or target values of each task.
        dtype: of the inputs, such as ``"float32"``.
        info: entries of ``Task.info`` that are finite numbers or text.
    """

    kind: str
    input_shape: tuple[int, ...]
    num_outputs: int
    dtype: str = "float32"
    info: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task) -> TaskShape:
        """Describe ``task``."""
        dtype = str(task.train.x.dtype).removeprefix("torch.")
        info = {name: value for name, value in task.info.items() if _is_json_scalar(value)}
        return cls(task.kind, task.input_shape, task.num_outputs, dtype, info)

    def placeholder(self) -> Task:
        """Return a task of this shape with a single input of zeros."""
        x = torch.zeros(1, *self.input_shape, dtype=getattr(torch, self.dtype))
        classes = self.kind == "classification"
        y = torch.zeros(1, dtype=torch.long) if classes else torch.zeros(1, self.num_outputs, dtype=x.dtype)
        split = Split(x, y)
        return Task("placeholder", split, split, self.num_outputs, self.kind, info=self.info)


def _is_json_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


@dataclass(frozen=True)
class Progress:
    """The record that is saved beside a checkpoint.

    Args:
        assessments: one per task learned.
        labels: global labels of the classes of each task.
        shape: shape of the tasks; None in folders of earlier versions.
    """

    assessments: tuple[Assessment, ...]
    labels: tuple[tuple[int, ...], ...]
    shape: TaskShape | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON holds it."""
        record = {"records": [each.to_dict() for each in self.assessments], "labels": [list(x) for x in self.labels]}
        return record if self.shape is None else {**record, "shape": asdict(self.shape)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Progress:
        """Build from what JSON holds."""
        shape = record.get("shape")
        return cls(
            tuple(Assessment.from_dict(each) for each in record["records"]),
            tuple(tuple(labels) for labels in record["labels"]),
            None if shape is None else TaskShape(**{**shape, "input_shape": tuple(shape["input_shape"])}),
        )
