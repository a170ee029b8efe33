"""Truncation of generated vectors, for hypernetworks that generate more numbers than there are weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..memo import transforms_active

__all__ = ["truncate"]


def truncate(x: Tensor, num: int) -> Tensor:
    """Return the first ``num`` entries along the last dimension of ``x`` ``(*B, n)``, a fresh sum or product.

    The result may be modified in place, so ``x`` must not have been saved for backward nor be used again. It is made by
    a split, whose gradient is one concatenation; that of a slice is a full tensor of zeros and a copy into it.
    """
    rest = x.shape[-1] - num
    if not rest:
        return x
    return x[..., :num] if transforms_active() else torch.unsafe_split_with_sizes(x, [num, rest], dim=-1)[0]
