"""Perceptrons of one form with different tensors, evaluated side by side by batched matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers.elementwise import elementwise
from .mlp import MLPSubnet

__all__ = ["mlps_side_by_side"]


def mlps_side_by_side(
    subnet: MLPSubnet, tensors: Sequence[Tensor], uncond: Tensor, chunk: Tensor | None = None
) -> Tensor | None:
    """Outputs of ``T`` perceptrons, or None where their layers do more than multiply, add and activate.

    Args:
        subnet: what the perceptrons have besides their tensors; they have no conditional input.
        tensors: weights and biases in the order of the layers, ``(T, out, in)`` and ``(T, out)``.
        uncond: unconditional inputs ``(T, M, n)``.
        chunk: chunk embeddings ``(T, C, e)``, or None without chunks.

    Returns:
        ``(T, M, out)``, with chunks ``(T, M, C * out)``.
    """
    sizes, act = subnet.sizes, subnet.activation_fn
    dropping = subnet.dropout is not None and subnet.training
    if len(subnet.norms) or subnet.spectral is not None or sizes.skip or sizes.cond or dropping or not elementwise(act):
        return None
    step = 2 if sizes.use_bias else 1
    weights = tensors[::step]
    biases = [b.unsqueeze(1) for b in tensors[1::step]] if sizes.use_bias else [None] * len(weights)
    num, count = uncond.shape[:2]
    if chunk is None:
        x = _linear(uncond, weights[0], biases[0])
    else:
        of_latent, of_chunk = weights[0].split([sizes.uncond, sizes.chunk], dim=2)
        parts = _linear(uncond, of_latent, None).unsqueeze(2), _linear(chunk, of_chunk, biases[0]).unsqueeze(1)
        x = (parts[0] + parts[1]).flatten(1, 2)
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        x = _linear(x if act is None else act(x), weight, bias)
    return x.reshape(num, count, -1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x`` ``(T, N, in)`` times ``weight`` ``(T, out, in)``, plus ``bias`` ``(T, 1, out)``."""
    return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias, x, weight.mT)
