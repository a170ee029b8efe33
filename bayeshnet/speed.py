"""Central switches for optimizations: caching, batching and fast paths, with their size thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Shortcuts", "shortcuts", "using"]


@dataclass(frozen=True)
class Shortcuts:
    """Optimizations. They change run time and memory; results agree up to rounding errors.

    Attributes:
        memo: cache values computed from tensors that have not changed (:class:`~bayeshnet.memo.Memo`).
        one_pass: generate the weights of several conditions in one pass of the hypernetwork.
        direct: evaluate the bound of a Bayesian network with one weights site directly, without Pyro's traces.
        short_weights: maximum number of entries of weight vectors that are generated explicitly, instead of using the
            Gram matrix of the head.
        jacobian_block: maximum number of entries of a Jacobian of activations in memory; larger ones are recomputed
            block by block.
        row_block: maximum number of entries of a temporary tensor in the gradient of a Gram matrix.
        long_weights: number of weights from which on sums over draws are accumulated row by row.
        few_draws: maximum number of draws for which they are.
        sample_block: entries of a block of columns of samples in kernel estimators.
        search_block: maximum number of entries of a temporary tensor in searches for latents; more weight vectors are
            searched block by block.
        precise_samples: samples of up to so many entries in all are multiplied in double precision.
        precise_features: up to so many features of an exact head are multiplied in double precision; products of more
            features of single precision are only added in double precision.
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
    search_block: int = 2**25
    precise_samples: int = 2**18
    precise_features: int = 2**10


_DEFAULT = Shortcuts()
_CURRENT: ContextVar[Shortcuts] = ContextVar("bayeshnet_shortcuts", default=_DEFAULT)


def shortcuts() -> Shortcuts:
    """Return the current shortcuts."""
    return _CURRENT.get()


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Change shortcuts within the ``with`` block, by name: ``using(memo=False)``.

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
