"""Sums of products of features, in blocks, in double precision or, for many features, partly in single precision."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..speed import shortcuts

__all__ = ["add_products", "add_rough_products", "is_rough"]

_BLOCK, _ROWS = 512, 1024


def is_rough(features: Tensor) -> bool:
    """Return whether products are taken in single precision: of many features ``(N, D)`` that have no more digits."""
    many = features.shape[1] > shortcuts().precise_features and features.dtype == torch.float32
    return many and _multiplies_precisely()


def _multiplies_precisely() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.9 says that the setting has got another name
        try:
            return torch.get_float32_matmul_precision() == "highest"
        except RuntimeError:  # the other name has been used
            return False


def add_products(gram: Tensor, part: Tensor, weighted: Tensor) -> None:
    """Add products of features to a symmetric matrix: one half of the blocks, of which the other is a copy.

    Args:
        gram: ``(D, D)``, in double precision.
        part: features ``(N, D)``.
        weighted: the same, times the weights of the examples.
    """
    for start in range(0, len(gram), _BLOCK):
        stop = start + _BLOCK
        gram[start:, start:stop].addmm_(part[:, start:].T, weighted[:, start:stop])
    _mirror(gram)


def add_rough_products(gram: Tensor, features: Tensor) -> None:
    r"""Add products of features of single precision, which are multiplied in it and added in double precision.

    What is multiplied are the distances :math:`d` from the mean :math:`m` of up to 1,024 examples, so that errors are
    relative to the scatter of the features, not to their size:

    .. math:: \sum_i x_i x_i^\top = \sum_i d_i d_i^\top + m s^\top + s m^\top + n m m^\top, \qquad s = \sum_i d_i.

    Args:
        gram: ``(D, D)``, in double precision.
        features: ``(N, D)``, in single precision.
    """
    for rows in features.split(_ROWS):
        mean = rows.mean(0)
        away = rows - mean
        center, rest = mean.to(gram), away.to(gram).sum(0)
        left = torch.stack([center, rest + len(rows) * center])
        right = torch.stack([rest, center])
        for start in range(0, len(gram), _BLOCK):
            own = gram[start:, start : start + _BLOCK]
            with _without_autocast(gram.device.type):
                own.add_(away[:, start:].T @ away[:, start : start + _BLOCK])
            own.addmm_(left[:, start:].T, right[:, start : start + _BLOCK])
    _mirror(gram)
    for start in range(0, len(gram), _BLOCK):
        block = gram[start : start + _BLOCK, start : start + _BLOCK]
        block.copy_(0.5 * (block + block.T))


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    known = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if known else nullcontext()


def _mirror(gram: Tensor) -> None:
    """Copy the blocks below the diagonal to those above it."""
    for start in range(0, len(gram), _BLOCK):
        stop = start + _BLOCK
        gram[start:stop, stop:] = gram[stop:, start:stop].T
