"""Perceptrons of the same sizes with different tensors, evaluated in one pass by batched matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers.elementwise import Activation
from .mlp_layers import MLPSizes

__all__ = ["run_mlps"]


def run_mlps(
    sizes: MLPSizes, activation: Activation, tensors: Sequence[Tensor], uncond: Tensor, chunk: Tensor | None = None
) -> Tensor:
    """Compute the outputs of ``T`` perceptrons without conditional input, skip connection, norms and dropout.

    Args:
        sizes: their sizes.
        activation: their elementwise activation, or None.
        tensors: weights and biases in the order of the layers, ``(T, out, in)`` and ``(T, out)``.
        uncond: unconditional inputs ``(T, M, n)``.
        chunk: chunk embeddings ``(T, C, e)``, or None without chunks.

    Returns:
        ``(T, M, out)``, with chunks ``(T, M, C * out)``.
    """
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
        x = _linear(x if activation is None else activation(x), weight, bias)
    return x.reshape(num, count, -1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply ``x`` ``(T, N, in)`` by ``weight`` ``(T, out, in)`` and add ``bias`` ``(T, 1, out)``."""
    return torch.bmm(x, weight.mT) if bias is None else torch.baddbmm(bias, x, weight.mT)
