"""Kind and sizes of the tasks of a stream, from which a learner's state is rebuilt without the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from ...errors import check_choice, check_int, check_ints, type_error
from ...tasks import KINDS, Split, Task

__all__ = ["TaskShape"]

_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class TaskShape:
    """Kind and sizes of the tasks of a stream: what is needed to rebuild a learner's state without the data.

    Args:
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input.
        num_outputs: classes or target values of each task.
        dtype: of the inputs, such as ``"float32"``.
        info: entries of ``Task.info`` that are finite numbers or text.

    Raises:
        ValueError: for a kind or a dtype that tasks do not have, and for sizes below zero.
        TypeError: for sizes that are no integers.
    """

    kind: str
    input_shape: tuple[int, ...]
    num_outputs: int
    dtype: str = "float32"
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what may come from a file."""
        check_choice("kind", self.kind, KINDS)
        check_choice("dtype", self.dtype, _DTYPES)
        check_int("num_outputs", self.num_outputs, 1)
        object.__setattr__(self, "input_shape", tuple(check_ints("input_shape", self.input_shape, 0)))
        if not isinstance(self.info, Mapping):
            raise type_error("info", expected="a dict", got=self.info)

    @classmethod
    def of(cls, task: Task) -> TaskShape:
        """Describe ``task``."""
        dtype = str(task.train.x.dtype).removeprefix("torch.")
        info = {name: value for name, value in task.info.items() if _is_json_scalar(value)}
        return cls(task.kind, task.input_shape, task.num_outputs, dtype, info)

    def at_precision(self, dtype: str) -> TaskShape:
        """Return the shape with another dtype of floating inputs; integers stay what they are."""
        return replace(self, dtype=dtype) if getattr(torch, self.dtype).is_floating_point else self

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as JSON holds it."""
        return asdict(self)

    def placeholder(self) -> Task:
        """Return a task of this shape with a single input of zeros."""
        x = torch.zeros(1, *self.input_shape, dtype=getattr(torch, self.dtype))
        classes = self.kind == "classification"
        values = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        y = torch.zeros(1, dtype=torch.long) if classes else torch.zeros(1, self.num_outputs, dtype=values)
        split = Split(x, y)
        return Task("placeholder", split, split, self.num_outputs, self.kind, info=self.info)


def _is_json_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
