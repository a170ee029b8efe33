"""Differentiable functions of a head's matrix that send it one dense gradient, whatever is asked of it.

A gradient with respect to the matrix ``W`` ``(K, H)`` is as large as the matrix. Each use of ``W`` would make one of
its own, and adding them needs room for several. Here :class:`HeadGram` is the only function that returns a gradient
for ``W``; :class:`HeadShift`, whose gradient with respect to ``W`` is a sum of two outer products, sends their factors
to it through empty *slots*.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..speed import shortcuts

__all__ = ["HeadGram", "HeadShift", "plain_gram", "plain_shift"]


def plain_gram(weight: Tensor, precision: Tensor | None) -> Tensor:
    """Gram matrices ``W^T diag(p_q) W`` ``(Q, H, H)`` for precisions ``(Q, K)`` (ones if None), by plain operations."""
    if precision is None:
        return (weight.mT @ weight).unsqueeze(0)
    return torch.einsum("kh,qk,kj->qhj", weight, precision, weight)


def plain_shift(moved: Tensor, start: Tensor, weight: Tensor, precision: Tensor | None) -> tuple[Tensor, Tensor]:
    """``W^T p r`` ``(*B, C, H)`` and ``r^T p r`` ``(*B,)`` of ``r = moved + W start``, ``moved`` ``(*B, C, K)``."""
    residual = moved + start @ weight.mT
    weighted = residual if precision is None else residual * precision
    return weighted @ weight, (weighted * residual).sum((-1, -2))


def _hold(ctx: Any, *tensors: Tensor | None) -> None:
    """Keep inputs for the backward pass, which may be run several times since what a geometry computes is shared."""
    ctx.held = tensors
    ctx.versions = [None if t is None or t.is_inference() else t._version for t in tensors]


def _held(ctx: Any) -> tuple[Any, ...]:
    """The kept inputs, refused if one was changed in place since."""
    for tensor, version in zip(ctx.held, ctx.versions, strict=True):
        if version is not None and tensor._version != version:
            raise RuntimeError(
                "geometry: expected unchanged tensors in the backward pass, got one that was modified in place after "
                "the forward pass. Make a new geometry after each update."
            )
    return ctx.held


class HeadGram(torch.autograd.Function):
    """Gram matrices of a head, in memory that does not grow with the number of its rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, precision: Tensor | None, num_chunks: int) -> tuple[Tensor, ...]:
        """Gram matrices ``(Q, H, H)`` for precisions ``(Q, K)``, then four empty slots."""
        _hold(ctx, weight, precision)
        ctx.set_materialize_grads(False)
        size, width = weight.shape
        if precision is None:
            grams = (weight.mT @ weight).unsqueeze(0)
        else:
            grams = weight.new_zeros(precision.shape[0], width, width)
            for q, k in _blocks(len(precision), size, width):
                grams[q] += weight[k].mT @ (precision[q, k].unsqueeze(-1) * weight[k])
        slots = [weight.new_zeros(()).expand(num_chunks, n) for n in (size, width, size, width)]
        return grams, *slots

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """Collect the one gradient of the matrix, and that of the precisions."""
        weight, precision = _held(ctx)
        d_gram, *factors = grads
        pairs = [(x, y) for x, y in (factors[:2], factors[2:]) if x is not None and y is not None]
        if torch.is_grad_enabled():
            return *_gradients_plain(weight, precision, d_gram, pairs), None
        d_weight = d_precision = None
        if ctx.needs_input_grad[0]:
            if d_gram is None:
                d_weight = torch.zeros_like(weight)
            elif precision is None:
                d_weight = weight @ (d_gram[0] + d_gram[0].mT)
            else:
                d_weight = torch.zeros_like(weight)
                both = d_gram + d_gram.mT
                for q, k in _blocks(len(precision), *weight.shape):
                    d_weight[k] += ((weight[k] @ both[q]) * precision[q, k].unsqueeze(-1)).sum(0)
            for x, y in pairs:
                d_weight.addmm_(x.mT, y)
        if precision is not None and ctx.needs_input_grad[1] and d_gram is not None:
            d_precision = torch.empty_like(precision)
            for q, k in _blocks(len(precision), *weight.shape):
                d_precision[q, k] = ((weight[k] @ d_gram[q]) * weight[k]).sum(-1)
        return d_weight, d_precision, None


def _blocks(num: int, size: int, width: int) -> list[tuple[slice, slice]]:
    """Ranges of ``num`` Gram matrices and ``size`` rows for temporary tensors of about ``row_block`` entries."""
    block = shortcuts().row_block
    rows = max(1, min(size, block // width))
    many = max(1, block // (rows * width))
    return [
        (slice(q, min(num, q + many)), slice(k, min(size, k + rows)))
        for q in range(0, num, many)
        for k in range(0, size, rows)
    ]


def _gradients_plain(
    weight: Tensor, precision: Tensor | None, d_gram: Tensor | None, pairs: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor | None, Tensor | None]:
    """The same gradients by differentiable operations, for derivatives of higher order."""
    d_weight = d_precision = None
    if d_gram is not None and precision is None:
        d_weight = weight @ (d_gram[0] + d_gram[0].mT)
    elif d_gram is not None and precision is not None:
        d_weight = torch.einsum("qk,kh,qhj->kj", precision, weight, d_gram + d_gram.mT)
        d_precision = torch.einsum("kh,qhj,kj->qk", weight, d_gram, weight)
    for x, y in pairs:
        outer = x.mT @ y
        d_weight = outer if d_weight is None else d_weight + outer
    return d_weight, d_precision


class HeadShift(torch.autograd.Function):
    """:func:`plain_shift` without batch; the gradient of the matrix goes through the slots of :class:`HeadGram`."""

    @staticmethod
    def forward(
        ctx: Any, moved: Tensor, start: Tensor, weight: Tensor, precision: Tensor | None, *slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As :func:`plain_shift`; ``start`` is a constant."""
        _hold(ctx, moved, start, weight, precision)
        return plain_shift(moved, start, weight, precision)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of offset and precision, and the factors of two outer products for the matrix."""
        moved, start, weight, precision = _held(ctx)
        d_pulled, d_norm = grads
        residual = moved + start @ weight.mT
        spread = d_pulled @ weight.mT
        d_precision = None
        if precision is not None and ctx.needs_input_grad[3]:
            d_precision = residual * (spread + d_norm * residual)
        d_moved = spread + 2 * d_norm * residual
        weighted = residual
        if precision is not None:
            d_moved, weighted = d_moved * precision, residual * precision
        return d_moved, None, None, d_precision, weighted, d_pulled, d_moved, start
