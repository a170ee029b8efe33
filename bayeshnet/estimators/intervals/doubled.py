"""Copies of distributions whose parameters are in double precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["in_double"]

T = TypeVar("T")


def in_double(objects: T) -> T:
    """Return a copy of an object, or of a tuple of objects, whose floating-point tensors are in double precision.

    Parameters keep their values. Objects that share a tensor share its copy. A device without double precision keeps
    its own.

    Example:
        >>> in_double((torch.ones(1), torch.nn.Linear(1, 1).weight))[1].dtype
        torch.float64
    """
    with _Doubling():
        return copy.deepcopy(objects)


class _Doubling(TorchFunctionMode):
    """A mode in which copies of tensors are detached and in double precision."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace the copy of a tensor; everything else is as outside."""
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = _double(tensor.detach().clone())
            return memo[id(tensor)]
        out = func(*args, **(kwargs or {}))
        return _double(out) if func is Tensor.clone else out


def _double(tensor: Tensor) -> Tensor:
    narrow = tensor.is_floating_point() and tensor.device.type != "mps"
    return tensor.to(torch.float64) if narrow else tensor
