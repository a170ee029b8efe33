"""The beginning of a vector of weights, where a hypernetwork generates more than there are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..memo import transforms_active

__all__ = ["cut"]


def cut(x: Tensor, num: int) -> Tensor:
    """The first ``num`` of the last dimension's entries of ``x`` ``(*B, n)``, a sum or a product.

    What made ``x`` must not have kept it for its gradient, nor may it be used elsewhere: the result may be changed in
    place. The gradient of a split is one concatenation, that of a slice is a full tensor of zeros that is copied to.
    """
    rest = x.shape[-1] - num
    if not rest:
        return x
    return x[..., :num] if transforms_active() else torch.unsafe_split_with_sizes(x, [num, rest], dim=-1)[0]
