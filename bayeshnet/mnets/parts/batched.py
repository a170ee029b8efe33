"""A multi-layer perceptron under many weight vectors at once, and under independent Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mlp_forward", "mlp_gaussian_forward"]


def mlp_forward(
    tensors: Sequence[Tensor],
    x: Tensor,
    has_bias: bool,
    activation: Callable[[Tensor], Tensor] | None,
    dropout_rate: float | None,
    out_fn: Callable[[Tensor], Tensor] | None,
) -> Any:
    """Compute outputs under ``S`` weight vectors by batched matrix products.

    Activations are stored as ``(S, features, N)``, so that every product is one ``baddbmm`` without copies.

    Shape:
        weights ``(S, out, in)``, biases ``(S, out)``, ``x`` ``(N, in)`` or ``(S, N, in)``; result ``(S, N, out)``.
    """
    step = 2 if has_bias else 1
    samples = tensors[0].shape[0]
    h = x.mT if x.ndim == 3 else x.t().unsqueeze(0).expand(samples, -1, -1)
    for i in range(0, len(tensors), step):
        weight = tensors[i]
        h = torch.baddbmm(tensors[i + 1].unsqueeze(-1), weight, h) if has_bias else torch.bmm(weight, h)
        if i + step < len(tensors):
            if dropout_rate is not None:
                h = torch.dropout(h, dropout_rate, True)
            h = h if activation is None else activation(h)
    h = h.mT
    return h if out_fn is None else (out_fn(h), h)


def mlp_gaussian_forward(
    means: Sequence[Tensor],
    stds: Sequence[Tensor],
    x: Tensor,
    num: int,
    has_bias: bool,
    activation: Callable[[Tensor], Tensor] | None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw outputs under independent Gaussian weights, sampling the pre-activations of each layer.

    Given the inputs ``h`` of a layer, its pre-activations are
    :math:`N(h M^\top + m, \; h^2 (\Sigma^2)^\top + s^2)`. In the first layer all samples with the same means have the
    same moments.

    Shape:
        means ``(out, in)`` and ``(out,)``, or those of each sample, ``(num, out, in)`` and ``(num, out)``; stds
        ``(out, in)`` and ``(out,)``; ``x`` ``(N, in)``; result ``(num, N, out)``.

    References:
        Kingma, Salimans, Welling, "Variational dropout and the local reparameterization trick", 2015.
    """
    step, h = 2 if has_bias else 1, x
    for i in range(0, len(means), step):
        offset, variance = (means[i + 1], stds[i + 1].square()) if has_bias else (None, None)
        mean = _linear(h, means[i], offset)
        var = F.linear(h.square(), stds[i].square(), variance)
        std = var.clamp_min(torch.finfo(var.dtype).tiny).sqrt()
        eps = torch.randn((num, *mean.shape[-2:]), generator=generator, dtype=mean.dtype, device=mean.device)
        h = torch.addcmul(mean, std, eps)
        if i + step < len(means) and activation is not None:
            h = activation(h)
    return h


def _linear(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply one linear layer to ``h`` ``(*B, N, in)``, or a layer per sample, with weights ``(S, out, in)``."""
    if weight.ndim == 2:
        return F.linear(h, weight, bias)
    h = h.expand(len(weight), *h.shape[-2:])
    return torch.bmm(h, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(-2), h, weight.mT)
