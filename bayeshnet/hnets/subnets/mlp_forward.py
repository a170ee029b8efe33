"""The forward pass of a perceptron in a hypernetwork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import value_error
from .mlp_layers import MLPLayers

__all__ = ["add_chunks", "run_mlp", "stretched"]


def run_mlp(
    layers: MLPLayers, uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None = None, stats_id: Any = None
) -> Tensor:
    """Compute outputs for unconditional and conditional inputs and, if there are chunks, for each chunk embedding.

    Shape:
        ``uncond`` ``(B, n)``, ``cond`` ``(B, m)``, ``chunk`` ``(C, e)`` or ``(B, C, e)`` (each ``B`` may be 1); result
        ``(B, out)``, with chunks ``(B, C, out)``.
    """
    chunks = 0 if chunk is None else chunk.shape[-2]
    x = _first_layer(layers, uncond, cond, chunk)
    if len(layers.weights) == 1:
        return x.unflatten(0, (-1, chunks)) if chunks and x.ndim == 2 else x
    relu = type(layers.activation) is nn.ReLU
    if x.ndim == 3 and (layers.norms or layers.dropout is not None or not relu):
        x = x.flatten(0, 1)
    for i in range(1, len(layers.weights)):
        if layers.norms:
            norm, scale, shift = layers.norms[i - 1]
            x = norm(x, weight=scale, bias=shift, stats_id=stats_id)
        if layers.dropout is not None:
            x = layers.dropout(x)
        if relu:
            # In place: x is used nowhere else, no derivative needs it, and it is not a view, which would be copied.
            x = torch.relu_(x)
        elif layers.activation is not None:
            x = layers.activation(x)
        if x.ndim == 3:
            x = x.flatten(0, 1)
        if layers.sizes.skip and i == len(layers.weights) - 1:
            x = torch.cat([x, stretched(layers, _per_row(uncond, x.shape[0], chunks))], dim=-1)
        x = F.linear(x, layers.weights[i], layers.biases[i])
    return x.unflatten(0, (-1, chunks)) if chunks else x


def stretched(layers: MLPLayers, z: Tensor) -> Tensor:
    """Return the latents ``(..., n)`` as they enter the head through the skip connection."""
    return z if layers.stretch is None else z * F.linear(z, layers.stretch).exp()


def _per_row(uncond: Tensor | None, rows: int, chunks: int) -> Tensor:
    """Repeat the unconditional input ``(B, n)`` for each of ``rows = B * chunks`` rows."""
    if uncond is None:
        raise value_error("uncond_input", expected="an input for the linear skip connection", got=None)
    if chunks:
        return uncond.unsqueeze(1).expand(rows // chunks, chunks, -1).reshape(rows, -1)
    return uncond.expand(rows, -1)


def _first_layer(layers: MLPLayers, uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None) -> Tensor:
    """Compute the first layer; it is linear in its three inputs, so their parts are computed once and added.

    Shape:
        result ``(B, H)``, or with ``C`` chunks ``(B * C, H)`` or ``(B, C, H)``.
    """
    weight, bias = layers.weights[0], layers.biases[0]
    parts = [part for part in (uncond, cond) if part is not None]
    batch = max([1, *(part.shape[0] for part in parts)])
    if chunk is None:
        whole = [part.expand(batch, -1) for part in parts]
        return F.linear(whole[0] if len(whole) == 1 else torch.cat(whole, dim=1), weight, bias)
    sizes = layers.sizes
    rows = max(batch, chunk.shape[0] if chunk.ndim == 3 else 1) * chunk.shape[-2]
    if rows <= weight.shape[1]:
        # With fewer rows than columns, concatenating the inputs costs less than gradients of the parts of the weight.
        shape = (rows // chunk.shape[-2], chunk.shape[-2], -1)
        mid = [part.unsqueeze(1).expand(shape) for part in parts]
        joined = [*mid[: uncond is not None], chunk.expand(shape), *mid[uncond is not None :]]
        return F.linear(torch.cat(joined, dim=-1).flatten(0, 1), weight, bias)
    w_uncond, w_chunk, w_cond = weight.split([sizes.uncond, sizes.chunk, sizes.cond], dim=1)
    common = [F.linear(x, w) for x, w in ((uncond, w_uncond), (cond, w_cond)) if x is not None]
    return add_chunks(chunk, w_chunk, bias, common)


def add_chunks(chunk: Tensor, weight: Tensor, bias: Tensor | None, common: Sequence[Tensor]) -> Tensor:
    """Add a linear layer of chunk embeddings ``(C, e)`` or ``(B, C, e)`` and terms ``(B, H)`` common to all chunks.

    The result is ``(B, C, H)``, or ``(C, H)`` if neither chunk embeddings nor terms have a batch. Terms common to all
    samples as well are added to the bias, which avoids a tensor of the size of the result.
    """
    for part in common:
        if part.shape[0] == 1:
            bias = part[0] if bias is None else bias + part[0]
    own = [part for part in common if part.shape[0] != 1]
    if own and chunk.ndim == 3 and chunk.shape[0] == own[0].shape[0]:
        first = own.pop(0) if bias is None else own.pop(0) + bias  # added within the product, without another tensor
        x = torch.baddbmm(first.unsqueeze(1), chunk, weight.t().expand(chunk.shape[0], -1, -1))
    else:
        x = F.linear(chunk, weight, bias)
    for part in own:
        x = x + part.unsqueeze(1)
    return x
