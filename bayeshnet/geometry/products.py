"""A switch: Gram matrices whose products are formed in double precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from .linalg import precise

__all__ = ["double_products", "for_products", "products_are_double"]

_DOUBLE: ContextVar[bool] = ContextVar("bayeshnet_double_products", default=False)


@contextmanager
def double_products(on: bool = True) -> Iterator[None]:
    """Form products of Jacobians, and of the matrix of a head, in double precision within the ``with`` block.

    Their factors stay as they are: rounding them moves a singular value by a relative error of the largest one, while
    a product in single precision loses all that are smaller than the largest by the square root of the precision.
    """
    token = _DOUBLE.set(on)
    try:
        yield
    finally:
        _DOUBLE.reset(token)


def products_are_double() -> bool:
    """Return whether products are to be formed in double precision."""
    return _DOUBLE.get()


def for_products(x: Tensor) -> Tensor:
    """Return a factor in the precision of its products: double within the block, unless the device has none."""
    return precise(x) if _DOUBLE.get() else x
