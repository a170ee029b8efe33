"""Progress of a run as it is saved beside a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..continual.saved import TaskShape
from ..errors import check_int, value_error
from .results.records import Assessment

__all__ = ["Progress", "TaskShape"]


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
        return record if self.shape is None else {**record, "shape": self.shape.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Progress:
        """Build from what JSON holds."""
        shape = record.get("shape")
        return cls(
            tuple(Assessment.from_dict(each) for each in record["records"]),
            tuple(tuple(_label(label) for label in labels) for labels in record["labels"]),
            None if shape is None else TaskShape(**shape),
        )


def _label(label: Any) -> int:
    """Return a label if a tensor can hold it."""
    value = check_int("labels", label)
    if abs(value) >= 2**63:
        raise value_error("labels", expected="labels of 64 bits", got=label)
    return value
