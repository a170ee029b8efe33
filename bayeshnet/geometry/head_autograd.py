"""Differentiable functions of a head's matrix that give it a single dense gradient.

The gradient with respect to the matrix ``W`` ``(K, H)`` is as large as the matrix. Each use of ``W`` would produce one
more, and adding them takes memory for several. Here :class:`HeadGram` is the only function that returns a gradient for
``W``. The gradient of :class:`HeadShift` with respect to ``W`` is a sum of two outer products; it passes their factors
to :class:`HeadGram` as gradients of *slots*, extra outputs without content.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..speed import shortcuts

__all__ = ["HeadGram", "HeadShift", "head_gram", "head_shift"]


def head_gram(weight: Tensor, precision: Tensor | None) -> Tensor:
    """Compute ``W^T diag(p_q) W`` ``(Q, H, H)`` for precisions ``(Q, K)`` (ones if None), by torch's operations."""
    if precision is None:
        return (weight.mT @ weight).unsqueeze(0)
    return torch.einsum("kh,qk,kj->qhj", weight, precision, weight)


def head_shift(moved: Tensor, start: Tensor, weight: Tensor, precision: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute ``W^T p r`` ``(*B, C, H)`` and ``r^T p r`` ``(*B,)`` of ``r = moved + W start``, ``(*B, C, K)``."""
    residual = moved + start @ weight.mT
    weighted = residual if precision is None else residual * precision
    return weighted @ weight, (weighted * residual).sum((-1, -2))


def _hold(ctx: Any, *tensors: Tensor | None) -> None:
    """Keep inputs for the backward pass, which may run several times, since geometries share results."""
    ctx.held = tensors
    ctx.versions = [None if t is None or t.is_inference() else t._version for t in tensors]


def _held(ctx: Any) -> tuple[Any, ...]:
    """Return the kept inputs; raise RuntimeError if one has been modified in place."""
    for tensor, version in zip(ctx.held, ctx.versions, strict=True):
        if version is not None and tensor._version != version:
            raise RuntimeError(
                "geometry: expected unchanged tensors in the backward pass, got one that was modified in place after "
                "the forward pass. Make a new geometry after each update."
            )
    found: tuple[Any, ...] = ctx.held
    return found


class HeadGram(torch.autograd.Function):
    """Gram matrices of a head, with temporary memory that does not grow with the number of its rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, precision: Tensor | None, num_chunks: int) -> tuple[Tensor, ...]:
        """Return Gram matrices ``(Q, H, H)`` for precisions ``(Q, K)``, followed by four slots."""
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
        """Return the gradients of the matrix and of the precisions."""
        weight, precision = _held(ctx)
        d_gram, *factors = grads
        pairs = [(x, y) for x, y in (factors[:2], factors[2:]) if x is not None and y is not None]
        if torch.is_grad_enabled():
            return *_differentiable_gradients(weight, precision, d_gram, pairs), None
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
    """Divide ``num`` Gram matrices and ``size`` rows into ranges for tensors of about ``row_block`` entries."""
    block = shortcuts().row_block
    rows = max(1, min(size, block // width))
    many = max(1, block // (rows * width))
    return [
        (slice(q, min(num, q + many)), slice(k, min(size, k + rows)))
        for q in range(0, num, many)
        for k in range(0, size, rows)
    ]


def _differentiable_gradients(
    weight: Tensor, precision: Tensor | None, d_gram: Tensor | None, pairs: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the same gradients by differentiable operations, for derivatives of higher order."""
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
    """:func:`head_shift` without batch, whose gradient of the matrix passes through the slots of :class:`HeadGram`."""

    @staticmethod
    def forward(
        ctx: Any, moved: Tensor, start: Tensor, weight: Tensor, precision: Tensor | None, *slots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute :func:`head_shift`; ``start`` is a constant."""
        _hold(ctx, moved, start, weight, precision)
        return head_shift(moved, start, weight, precision)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of offset and precision, and the factors of two outer products for the matrix."""
        moved, start, weight, precision = _held(ctx)
        d_pulled, d_norm = grads
        residual = moved + start @ weight.mT
        d_weighted = d_pulled @ weight.mT
        d_precision = None
        if precision is not None and ctx.needs_input_grad[3]:
            d_precision = residual * (d_weighted + d_norm * residual)
        d_moved = d_weighted + 2 * d_norm * residual
        weighted = residual
        if precision is not None:
            d_moved, weighted = d_moved * precision, residual * precision
        return d_moved, None, None, d_precision, weighted, d_pulled, d_moved, start
