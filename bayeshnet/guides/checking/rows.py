"""Programs on many draws at once, or one by one where a program is not written for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["by_rows", "try_rows"]

_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def by_rows(batched: Callable[[], Any], single: Callable[[int], Any], num: int) -> Any:
    """Return ``batched()``, a tensor or a dict of them with ``num`` rows, if its first and last rows are right.

    They are compared with ``single(0)`` and ``single(num - 1)``. If they differ, or if ``batched`` raises, all rows are
    computed by ``single``: a program that is not written for plates around it may be silently wrong under one.
    """
    first = single(0)
    found = try_rows(batched, single, num, first)
    if found is not None:
        return found
    rows = [first, *(single(i) for i in range(1, num))]
    if isinstance(first, Tensor):
        return torch.stack(rows)
    return {name: torch.stack([row[name] for row in rows]) for name in first}


def try_rows(batched: Callable[[], Any], single: Callable[[int], Any], num: int, first: Any) -> Any:
    """Return ``batched()`` if its rows are right, as :func:`by_rows`, and None if not; ``first`` is ``single(0)``."""
    try:
        found = batched()
        right = _same(found, first, 0) and (num == 1 or _same(found, single(num - 1), num - 1))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        right = False
    return found if right else None


def _same(found: Any, row: Any, index: int) -> bool:
    """Return whether row ``index`` of what is found is ``row``, to rounding."""
    if isinstance(row, Tensor):
        return found[index].shape == row.shape and bool(
            torch.isclose(found[index], row, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True).all()
        )
    return all(_same(found[name], value, index) for name, value in row.items())
