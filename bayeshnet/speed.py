"""The one switchboard of shortcuts: what may be kept, joined or skipped, and from which sizes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Shortcuts", "shortcuts", "using"]


@dataclass(frozen=True)
class Shortcuts:
    """Shortcuts of evaluation. They change run time and memory; results agree up to rounding.

    Attributes:
        memo: keep values made from tensors that have not changed (:class:`~bayeshnet.memo.Memo`).
        one_pass: generate the weights of several conditions in one pass of the hypernetwork.
        direct: evaluate the bound of a plain Bayesian network without Pyro's traces.
        short_weights: build weight vectors of up to so many entries in all, instead of using Gram matrices of the head.
        jacobian_block: entries of a Jacobian of activations held at once; more are recomputed block by block.
        row_block: entries of a temporary tensor in the gradient of a Gram matrix.
        long_weights: weights per vector from which on sums over draws are accumulated row by row ...
        few_draws: ... for up to so many draws.
        sample_block: entries of a block of columns of samples in kernel estimators.
        precise_samples: samples of up to so many entries in all are multiplied in double precision.
    """

    memo: bool = True
    one_pass: bool = True
    direct: bool = True
    short_weights: int = 2**18
    jacobian_block: int = 2**21
    row_block: int = 2**20
    long_weights: int = 2**15
    few_draws: int = 64
    sample_block: int = 2**24
    precise_samples: int = 2**18


_DEFAULT = Shortcuts()
_CURRENT: ContextVar[Shortcuts] = ContextVar("bayeshnet_shortcuts", default=_DEFAULT)


def shortcuts() -> Shortcuts:
    """Return the shortcuts in force."""
    return _CURRENT.get()


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Change shortcuts inside the block, by name: ``using(memo=False)``.

    Example:
        >>> with using(memo=False, short_weights=0):
        ...     shortcuts().memo, shortcuts().direct
        (False, True)
    """
    token = _CURRENT.set(replace(shortcuts(), **changes))
    try:
        yield
    finally:
        _CURRENT.reset(token)
