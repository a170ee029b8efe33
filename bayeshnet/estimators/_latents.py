"""Latents that cover their space evenly, for means over a standard normal without bias."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributions._linalg import precise
from ..distributions._noise import normal_like, uniform_like

__all__ = ["even_latents"]

_GROUP = 8


def even_latents(like: Tensor, num: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Latents ``(num, n)`` in the dtype and on the device of ``like`` ``(n,)``, each of them standard normal.

    Directions are the rows of random rotations. Lengths are stratified: of a sorted sample of lengths, one of each
    group of neighbours, in random order; a random member of a random group is a random member of the sample. So means
    over the latents are unbiased, and those of quadratic functions, such as the squared norm of generated weights, have
    far less noise than over independent ones.

    References:
        Yu, Suresh, Choromanski, Holtmann-Rice, Kumar, "Orthogonal random features", 2016.
    """
    n = like.shape[0]
    rotation, upper = torch.linalg.qr(precise(normal_like(like, (-(-num // n), n, n), generator)))
    rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    squares = normal_like(like, (num * _GROUP, n), generator).square().sum(-1).sort().values
    pick = uniform_like(like, (2, num), generator)
    member = (pick[:1].T * _GROUP).long().clamp_max(_GROUP - 1)
    lengths = squares.reshape(num, _GROUP).gather(1, member).sqrt()[pick[1].argsort()]
    return lengths * rotation.mT.reshape(-1, n)[:num].to(like)
