"""Kind and sizes of the tasks of a stream, from which a learner's state is rebuilt without the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from ...checks import check_text
from ...errors import check_choice, check_int, check_ints, type_error, value_error
from ...tasks import KINDS, Split, Task

__all__ = ["TaskShape"]

_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class TaskShape:
    """Kind and sizes of the tasks of a stream: what is needed to rebuild a learner's state without the data.

    Args:
        kind: ``"classification"`` or ``"regression"``.
        input_shape: shape of one input, or a tuple of shapes of several.
        num_outputs: classes or target values of each task.
        dtype: of the inputs, such as ``"float32"``; of several, joined by commas.
        info: entries of ``Task.info`` that are finite numbers or text.

    Raises:
        ValueError: for a kind or a dtype that tasks do not have, and for sizes below zero.
        TypeError: for sizes that are no integers.
    """

    kind: str
    input_shape: Any
    num_outputs: int
    dtype: str = "float32"
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what may come from a file."""
        check_choice("kind", self.kind, KINDS)
        check_int("num_outputs", self.num_outputs, 1)
        object.__setattr__(self, "input_shape", _checked_shape(self.input_shape))
        count = len(self.input_shape) if self._is_several() else 1
        names = check_text("dtype", self.dtype).split(",")
        if len(names) != count:
            raise value_error("dtype", expected=f"one for each of {count} inputs, joined by commas", got=self.dtype)
        for name in names:
            check_choice("dtype", name, _DTYPES)
        if not isinstance(self.info, Mapping):
            raise type_error("info", expected="a dict", got=self.info)

    @classmethod
    def of(cls, task: Task) -> TaskShape:
        """Describe ``task``."""
        some = task.train.x[:1] if not task.train.in_memory else task.train.x
        parts = some if isinstance(some, tuple) else (some,)
        dtype = ",".join(str(part.dtype).removeprefix("torch.") for part in parts)
        info = {name: value for name, value in task.info.items() if _is_json_scalar(value)}
        return cls(task.kind, task.input_shape, task.num_outputs, dtype, info)

    def _is_several(self) -> bool:
        return bool(self.input_shape) and isinstance(self.input_shape[0], tuple)

    def at_precision(self, dtype: str) -> TaskShape:
        """Return the shape with another dtype of floating inputs; integers stay what they are."""
        names = [dtype if getattr(torch, name).is_floating_point else name for name in self.dtype.split(",")]
        return replace(self, dtype=",".join(names))

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as JSON holds it."""
        return asdict(self)

    def placeholder(self) -> Task:
        """Return a task of this shape with a single input of zeros."""
        shapes = self.input_shape if self._is_several() else (self.input_shape,)
        dtypes = [getattr(torch, name) for name in self.dtype.split(",")]
        x = tuple(torch.zeros(1, *shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
        classes = self.kind == "classification"
        values = next((dtype for dtype in dtypes if dtype.is_floating_point), torch.get_default_dtype())
        y = torch.zeros(1, dtype=torch.long) if classes else torch.zeros(1, self.num_outputs, dtype=values)
        split = Split(x if self._is_several() else x[0], y)
        return Task("placeholder", split, split, self.num_outputs, self.kind, info=self.info)


def _checked_shape(shape: Any) -> Any:
    """Return the shape of one input as a tuple, or a tuple of those of several."""
    if isinstance(shape, (list, tuple)) and shape and all(isinstance(entry, (list, tuple)) for entry in shape):
        return tuple(tuple(check_ints("input_shape", entry, 0)) for entry in shape)
    return tuple(check_ints("input_shape", shape, 0))


def _is_json_scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
