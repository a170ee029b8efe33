"""Functions of Gaussians' means and standard deviations in few operations, which for few weights are what costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..hnets._head_functions import transforms_active

__all__ = ["diagonal_kl", "reparameterised"]

LONG, FEW = 2**15, 64
"""From so many weights on, and up to so many draws, sums are made row by row; else plain operations are quicker."""


def diagonal_kl(loc: Tensor, scale: Tensor, other_loc: Tensor, other_scale: Tensor) -> Tensor:
    r"""KL between Gaussians with independent entries, summed over all of them: ``()``, in nats.

    .. math:: \sum_i \tfrac12 (r_i^2 - 1 + d_i^2) - \log r_i, \qquad r_i = s_i / s'_i, \; d_i = (m_i - m'_i) / s'_i

    Args:
        loc: means :math:`m` of the first.
        scale: its standard deviations :math:`s`, of the same shape.
        other_loc: means :math:`m'` of the second, of that shape or ``()``.
        other_scale: its standard deviations :math:`s'`, likewise.
    """
    ratio, shift = scale / other_scale, (loc - other_loc) / other_scale
    # r^2 - 1 as a product: near one the difference would be lost in rounding.
    terms = torch.addcmul((ratio - 1) * (ratio + 1), shift, shift).sub(ratio.log(), alpha=2)
    return 0.5 * terms.sum()


def reparameterised(loc: Tensor, scale: Tensor, eps: Tensor) -> Tensor:
    """``loc + scale * eps`` ``(S, P)`` for ``loc``, ``scale`` ``(P,)`` and constant noise ``eps`` ``(S, P)``."""
    if len(eps) > FEW or eps.shape[-1] < LONG or not scale.requires_grad or transforms_active():
        return torch.addcmul(loc, scale, eps)
    out: Tensor = _Reparameterised.apply(loc, scale, eps)
    return out


class _Reparameterised(torch.autograd.Function):
    """See :func:`reparameterised`; the gradient's sums over draws are made without products as large as all draws."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor, eps: Tensor) -> Tensor:
        ctx.save_for_backward(eps)
        return torch.addcmul(loc, scale, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (eps,) = ctx.saved_tensors
        total = torch.zeros_like(grad[0])
        for row, noise in zip(grad.unbind(), eps.unbind(), strict=True):
            total = torch.addcmul(total, row, noise) if torch.is_grad_enabled() else total.addcmul_(row, noise)
        return grad.sum(0), total, None
