"""Values that do not belong: what a careless or hostile caller may hand to an argument, made from a valid value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["hostile_values"]

_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint64, torch.bool),
)
_OBJECTS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a string": lambda: "probs",
    "an empty string": lambda: "",
    "bytes": lambda: b"0",
    "a list": lambda: [0.5, 0.5],
    "nested lists": lambda: [[0.5, 0.5]],
    "an empty list": list,
    "a tuple": lambda: (1, 2),
    "a dictionary": lambda: {"a": 1},
    "a set": lambda: {1, 2},
    "an object": object,
    "a class": lambda: int,
    "a function": lambda: len,
    "an array": lambda: np.ones((3, 2)),
    "an array of one": lambda: np.ones(1),
    "an array of texts": lambda: np.array(["a", "b"]),
    "a scalar tensor": lambda: torch.tensor(0.5),
    "a vector": lambda: torch.ones(3),
    "a module": lambda: torch.nn.Linear(2, 2),
    "a sparse tensor": lambda: torch.eye(3).to_sparse(),
    "a nested dtype": lambda: torch.float32,
}
_NUMBERS: dict[str, Any] = {
    "0": 0,
    "1": 1,
    "-1": -1,
    "2": 2,
    "0.5": 0.5,
    "-0.5": -0.5,
    "NaN": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "1e-300": 1e-300,
    "1e300": 1e300,
    "10**9": 10**9,
    "10**18": 10**18,
    "10**400": 10**400,
    "-10**400": -(10**400),
    "a complex number": 1j,
    "True": True,
    "False": False,
    "float32": np.float32(0.5),
    "int64": np.int64(3),
}


def hostile_values(valid: Any) -> Iterator[tuple[str, Any]]:
    """Yield a description and a value for many values that may not fit where ``valid`` does."""
    for name, make in _OBJECTS.items():
        yield name, make()
    yield from _NUMBERS.items()
    if isinstance(valid, torch.Tensor):
        yield from _tensors(valid)
    elif isinstance(valid, (tuple, list)) and len(valid) > 0:
        yield from _sequences(valid)
    elif isinstance(valid, dict) and len(valid) > 0:
        yield from _mappings(valid)


def _sequences(valid: tuple[Any, ...] | list[Any]) -> Iterator[tuple[str, Any]]:
    first, *rest = valid
    make = type(valid)
    yield "one entry less", make(rest)
    yield "one entry more", make([first, *valid])
    yield "an iterator", iter(valid)
    yield "nested once more", make([valid])
    for name, entry in hostile_values(first):
        yield f"first entry {name}", make([entry, *rest])


def _mappings(valid: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    key, first = next(iter(valid.items()))
    yield "one key less", {other: value for other, value in valid.items() if other != key}
    yield "a key unknown", {**valid, "unknown": first}
    yield "a number as key", {**valid, 7: first}
    for name, entry in hostile_values(first):
        yield f"first entry {name}", {**valid, key: entry}


def _tensors(valid: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    yield "one dimension more in front", valid[None]
    yield "one dimension more behind", valid[..., None]
    yield "all in one dimension", valid.flatten()
    yield "on no device", valid.to("meta")
    yield "empty", valid.new_empty(0)
    yield "negative", -valid
    yield "a gradient", valid.double().requires_grad_()
    for axis in range(valid.ndim):
        yield f"longer in dimension {axis}", torch.cat([valid, valid], axis)
        yield f"one less in dimension {axis}", valid.narrow(axis, 0, valid.shape[axis] - 1)
        yield f"one in dimension {axis}", valid.narrow(axis, 0, 1)
        yield f"none in dimension {axis}", valid.narrow(axis, 0, 0)
        yield f"without dimension {axis}", valid.select(axis, 0)
    if valid.ndim > 1:
        yield "transposed", valid.transpose(0, 1)
    for dtype in _DTYPES:
        yield str(dtype), valid.to(dtype)
    if valid.is_floating_point():
        for number in (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 3e38, 1e-30, 0.0, -1.0):
            yield f"one entry {number}", _with(valid, number)
            yield f"all entries {number}", torch.full_like(valid, number)
        yield "times 1e30", valid * 1e30
        yield "times 1e-30", valid * 1e-30
        yield "1e300", valid.double() * 1e300
    else:
        for number in (-1, -100, 10**9, 2**62):
            yield f"one entry {number}", _with(valid, number)
            yield f"all entries {number}", torch.full_like(valid, number)


def _with(valid: torch.Tensor, number: float) -> torch.Tensor:
    changed = valid.clone()
    changed.view(-1)[0] = number
    return changed
