"""Selection of examples, such as stratified subsets, and conversion of arrays to the tensors of a task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import check_data
from ..errors import check_finite, check_int, check_number, type_error, value_error
from ..tasks import Split

__all__ = [
    "as_inputs",
    "as_labels",
    "as_stored",
    "as_tokens",
    "as_values",
    "groups_of",
    "held_out",
    "limited",
    "stratified",
]


_COMMON = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}
"""Dtypes of integers with all operations."""


def as_inputs(x: Any, argument: str = "x") -> Tensor:
    """Turn an array, list or tensor into a floating tensor; ``uint8`` images are divided by 255.

    Example:
        >>> as_inputs(torch.tensor([[0, 255]], dtype=torch.uint8))
        tensor([[0., 1.]])
    """
    tensor = _as_tensor(x, argument)
    if tensor.ndim == 0:
        raise value_error(argument, expected="an array of examples (N, ...)", got=tensor)
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32) / 255
    return check_finite(argument, tensor) if tensor.is_floating_point() else tensor.to(torch.float32)


def as_stored(x: Any, argument: str = "x") -> Tensor:
    """Do the same, but leave images bytes until examples have been selected, which takes a quarter of the memory."""
    tensor = _as_tensor(x, argument) if hasattr(x, "dtype") else as_inputs(x, argument)
    return tensor if tensor.dtype == torch.uint8 and tensor.ndim else as_inputs(tensor, argument)


def as_tokens(x: Any, argument: str = "x") -> Tensor:
    """Turn an array, list or tensor of integers into an ``int64`` tensor, such as one of tokens.

    Example:
        >>> as_tokens([[3, 1, 4]])
        tensor([[3, 1, 4]])
    """
    tensor = _as_tensor(x, argument)
    if tensor.ndim == 0 or tensor.is_floating_point() or tensor.is_complex():
        raise value_error(argument, expected="an array of integers (N, ...)", got=tensor)
    return tensor.to(torch.int64)


def as_labels(y: Any, argument: str = "y") -> Tensor:
    """Turn class labels into an ``int64`` tensor ``(N,)``; floating labels must be whole numbers."""
    tensor = _as_tensor(y, argument)
    if tensor.ndim != 1:
        raise value_error(
            argument, expected="class labels of shape (N,)", got=tensor, hint="Give indices, not one-hot vectors."
        )
    if tensor.is_floating_point() and not bool(((tensor == tensor.round()) & (tensor.abs() < 2**62)).all()):
        raise value_error(
            argument, expected="whole numbers as class labels", got=tensor, hint="Say kind='regression' for values."
        )
    return tensor.to(torch.int64)


def as_values(y: Any, argument: str = "y") -> Tensor:
    """Turn regression targets into a floating tensor ``(N, C)``; ``(N,)`` becomes ``(N, 1)``."""
    tensor = _as_tensor(y, argument)
    tensor = check_finite(argument, tensor) if tensor.is_floating_point() else tensor.to(torch.float32)
    if tensor.ndim not in (1, 2):
        raise value_error(argument, expected="targets of shape (N,) or (N, C)", got=tensor)
    return tensor[:, None] if tensor.ndim == 1 else tensor


def _as_tensor(x: Any, argument: str) -> Tensor:
    try:
        tensor = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise type_error(argument, expected="a tensor or an array of numbers", got=x) from error
    check_data(argument, tensor, "a dense tensor or an array of real numbers")
    unsigned = not tensor.is_floating_point() and tensor.dtype not in _COMMON
    return tensor.to(torch.int64) if unsigned else tensor


def stratified(y: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Choose exactly ``count`` of the ``N`` examples at random, such that the proportions of the classes are kept.

    Class :math:`c` with :math:`N_c` examples gets :math:`\lfloor N_c \cdot count / N \rfloor`, and the classes with the
    largest remainders get one more until ``count`` is reached. Floating targets count as one class.

    Args:
        y: targets ``(N,)`` or ``(N, C)``.
        count: number of examples, from 0 to ``N``.
        generator: random generator of the choice.

    Returns:
        Mask ``(N,)``, True for the chosen examples.

    Example:
        >>> stratified(torch.tensor([0] * 6 + [1] * 2), 4)[6:].sum()
        tensor(1)
    """
    strata = torch.zeros(len(y), dtype=torch.int64) if y.is_floating_point() else y.cpu()
    _, which, sizes = torch.unique(strata, return_inverse=True, return_counts=True)
    share = sizes.double() * count / len(y)
    quota = share.floor().long()
    quota[(share - quota).argsort(descending=True, stable=True)[: count - int(quota.sum())]] += 1
    order = (which + torch.rand(len(y), generator=generator, dtype=torch.float64)).argsort()
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(y)) - (sizes.cumsum(0) - sizes)[which[order]]
    found: Tensor = (ranks < quota[which]).to(y.device)
    return found


def held_out(split: Split, fraction: float, seed: int, argument: str = "fraction") -> tuple[Split, Split]:
    """Divide ``split`` into the rest and a stratified random choice of ``ceil(fraction * N)`` examples.

    Example:
        >>> rest, held = held_out(Split(torch.zeros(10, 3), torch.arange(10) % 2), 0.2, seed=0)
        >>> len(rest), len(held)
        (8, 2)
    """
    fraction = check_number(argument, fraction, 0.0, 1.0)
    count = math.ceil(fraction * len(split) - 1e-9)
    if not 0 < count < len(split):
        raise value_error(
            argument, expected=f"a fraction of the {len(split)} examples that leaves some on both sides", got=fraction
        )
    mask = stratified(split.y, count, torch.Generator().manual_seed(seed))
    return split.select(~mask), split.select(mask)


def limited(split: Split, most: int | None, seed: int, argument: str = "most") -> Split:
    """Keep at most ``most`` examples, a stratified random choice; ``None`` keeps all."""
    if most is None or check_int(argument, most, 1) >= len(split):
        return split
    return split.select(stratified(split.y, most, torch.Generator().manual_seed(seed)))


def groups_of(order: Sequence[int], num_tasks: int | None, size: int) -> list[list[int]]:
    """Return the classes of each task; refuse to leave some over unless the number of tasks says so."""
    check_int("classes_per_task", size, 1)
    most = len(order) // size
    count = most if num_tasks is None else check_int("num_tasks", num_tasks, 1)
    if not 1 <= count <= most:
        expected = f"num_tasks * classes_per_task of at most {len(order)} classes"
        got = f"{num_tasks or 1} * {size}"
        argument = "classes_per_task" if num_tasks is None else "num_tasks"
        raise value_error(argument, expected=expected, found=got, hint="Take fewer tasks, or fewer classes in each.")
    if num_tasks is None and len(order) % size:
        left = ", ".join(map(str, order[size * most :]))
        expected = f"a number that divides that of the {len(order)} classes"
        advice = f"Pass num_tasks={most} to leave out class {left}."
        raise value_error("classes_per_task", expected=expected, got=size, hint=advice)
    return [list(order[size * t : size * (t + 1)]) for t in range(count)]
