"""Sums of products of features, in blocks, in double precision or, for many features, partly in single precision."""

from __future__ import annotations

import torch
from torch import Tensor

from ..speed import shortcuts

__all__ = ["add_products", "is_rough"]

_BLOCK, _ROWS = 512, 1024


def is_rough(features: Tensor) -> bool:
    """Return whether products are taken in single precision: of many features ``(N, D)`` that have no more digits."""
    return features.shape[1] > shortcuts().precise_features and features.dtype == torch.float32


def add_products(gram: Tensor, part: Tensor, weighted: Tensor) -> None:
    """Add products of features to a symmetric matrix: one half of the blocks, of which the other is a copy.

    Args:
        gram: ``(D, D)``, in double precision.
        part: features ``(N, D)``; of single precision, products of up to 1,024 examples are summed in it.
        weighted: the same, times the weights of the examples.
    """
    for start in range(0, len(gram), _BLOCK):
        stop = start + _BLOCK
        own = gram[start:, start:stop]
        if part.dtype == own.dtype:
            own.addmm_(part[:, start:].T, weighted[:, start:stop])
        else:
            for row in range(0, len(part), _ROWS):
                own.add_(part[row : row + _ROWS, start:].T @ weighted[row : row + _ROWS, start:stop])
        gram[start:stop, stop:] = gram[stop:, start:stop].T
