"""A linear head, and quadratic forms of its outputs computed from small Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_floating, check_int, check_shape, value_error
from ..memo import Memo, transforms_active
from .head_autograd import HeadGram, HeadShift, head_gram, head_shift
from .products import for_products
from .truncate import truncate

__all__ = ["LinearHead", "WeightedGram"]

_WIDE = "double"
"""Key of Gram matrices in double precision."""

KEPT = 4
"""Number of precisions whose Gram matrices a head keeps."""

Shift = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class WeightedGram:
    """Gram matrices of a head for one precision, by ranges of chunks.

    Attributes:
        pieces: pairs of a slice of the chunks and their common Gram matrix ``(H, H)``, or one each, ``(c, H, H)``.
        precision: the precision by chunks ``(C, K)``, or None for ones, up to the end of the last chunk.
        slots: pass the gradient of one shift of the origin on to the head.
        shifts: results of :meth:`LinearHead.shift`.
    """

    pieces: list[tuple[slice, Tensor]]
    precision: Tensor | None
    slots: list[Tensor]
    shifts: Memo[Shift] = field(default_factory=Memo)

    def sqnorm(self, x: Tensor) -> Tensor:
        """Compute squared norms of the head's linear outputs at activations ``(*B, C, H)``: ``(*B,)``."""
        total: Tensor | None = None
        for chunks, gram in self.pieces:
            part = (x[..., chunks, :] if len(self.pieces) > 1 else x).to(gram.dtype)
            value = (_times(part, gram) * part).sum((-1, -2))
            total = value if total is None else total + value
        return total  # type: ignore[return-value]

    def gram(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Compute Gram matrices ``(*B, m, m)`` along ``x`` ``(*B, m, C', H)``, over chunks ``start`` to ``stop``."""
        total: Tensor | None = None
        for chunks, gram in self.pieces:
            low, high = max(start, chunks.start), min(stop, chunks.stop)
            if low >= high:
                continue
            part = x if (low, high) == (start, stop) else x[..., low - start : high - start, :]
            part = part.to(gram.dtype)
            if gram.ndim == 3:
                gram = gram[low - chunks.start : high - chunks.start]
            value = _times(part, gram).flatten(-2) @ part.flatten(-2).mT
            total = value if total is None else total + value
        return total  # type: ignore[return-value]


def _times(x: Tensor, gram: Tensor) -> Tensor:
    """Multiply ``x`` ``(*B, C, H)`` by a Gram matrix ``(H, H)`` of all chunks, or by one each."""
    return x @ gram if gram.ndim == 2 else torch.einsum("...ch,chk->...ck", x, gram)


class LinearHead:
    r"""The map from activations of :math:`C` chunks to :math:`P` weights, :math:`(W a_c + b)_c` truncated to :math:`P`.

    Args:
        weight: matrix :math:`W` ``(K, H)``.
        bias: vector :math:`b` ``(K,)``, or None.
        num_chunks: number ``C`` of chunks.
        num_weights: number ``P`` of weights, at most ``C * K``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, num_chunks: int, num_weights: int) -> None:
        if not isinstance(weight, Tensor) or weight.ndim != 2:
            check_shape("weight", weight, (None, None))
        if bias is not None and (not isinstance(bias, Tensor) or bias.shape != weight.shape[:1]):
            check_shape("bias", bias, (weight.shape[0],))
        if bias is not None:
            check_floating("bias", bias)
        if check_int("num_weights", num_weights, 1) > num_chunks * weight.shape[0]:
            most = num_chunks * weight.shape[0]
            raise value_error("num_weights", expected=f"at most {most}, which the head has", got=num_weights)
        self.weight, self.bias = check_floating("weight", weight), bias
        self.num_chunks, self.num_weights = num_chunks, num_weights
        self.chunk_size = weight.shape[0]
        self.rest = num_chunks * self.chunk_size - num_weights
        self._kept = Memo[WeightedGram](KEPT)

    def __call__(self, a: Tensor, bias: bool = True) -> Tensor:
        """Compute outputs ``(*B, P)`` for activations ``(*B, C, H)``; without the bias if not ``bias``."""
        out = F.linear(a, self.weight, self.bias if bias else None).flatten(-2)
        return truncate(out, self.num_weights)

    def part(self, a: Tensor, start: int, stop: int) -> Tensor:
        """Compute outputs ``start`` to ``stop`` of some chunks with activations ``(*B, c, H)``."""
        if a.shape[-2] > 1:
            return F.linear(a, self.weight, self.bias).flatten(-2)[..., start:stop]
        bias = None if self.bias is None else self.bias[start:stop]
        return F.linear(a, self.weight[start:stop], bias).flatten(-2)

    def by_chunks(self, v: Tensor) -> Tensor:
        """Reshape ``(*B, P)`` to ``(*B, C, K)``, with zeros after the last weight."""
        found: Tensor = (F.pad(v, (0, self.rest)) if self.rest else v).unflatten(-1, (self.num_chunks, self.chunk_size))
        return found

    def pull(self, v: Tensor) -> Tensor:
        """Pull ``v`` ``(*B, P)`` back to the activations: ``(*B, C, H)``."""
        check_shape("v", v, (-1, self.num_weights))
        return self.by_chunks(v) @ self.weight

    def dot_bias(self, v: Tensor) -> Tensor | float:
        """Compute the inner product of the bias with ``v`` ``(*B, P)``: ``(*B,)``."""
        return 0.0 if self.bias is None else (self.by_chunks(v) * self.bias).sum((-1, -2))

    def rows(self, moved: Tensor, index: Tensor) -> Tensor:
        """Compute entries ``index`` ``(R,)`` of the outputs along ``moved`` ``(*B, n, C, H)``: ``(*B, R, n)``."""
        chosen = self.weight[index % self.chunk_size]
        if self.num_chunks == 1:
            return (moved.squeeze(-2) @ chosen.mT).mT
        return (moved[..., index // self.chunk_size, :] * chosen).sum(-1).mT

    def weighted_gram(self, values: Tensor | None, keep: bool = True) -> WeightedGram:
        """Return Gram matrices for precisions ``values`` ``(P,)``, or for ones if None.

        They are kept for further calls with the same tensor. Without ``keep`` new ones are computed by torch's
        operations and not kept, which is faster for small heads.
        """
        weight = for_products(self.weight)
        if weight is not self.weight:
            wide = None if values is None else for_products(values)
            if transforms_active():
                return self._make_gram(weight, wide, once=True)
            return self._kept.get((values, self.weight, _WIDE), lambda: self._make_gram(weight, wide, once=False))
        keys = (values, self.weight)
        if not keep or transforms_active():
            kept = self._kept.peek(keys)
            return self._make_gram(weight, values, once=True) if kept is None else kept
        return self._kept.get(keys, lambda: self._make_gram(weight, values, once=False))

    def _make_gram(self, weight: Tensor, values: Tensor | None, once: bool) -> WeightedGram:
        """Compute Gram matrices for a single use, or for several uses that share one gradient of the matrix."""
        chunks = self.num_chunks
        weights = None if values is None else self.by_chunks(values)
        blocks = weights
        if weights is None and self.rest:
            blocks = self._kinds(weight)
            weights = blocks if chunks == 1 else None  # as long as the weights, and seldom needed
        if once:
            grams, slots = head_gram(weight, blocks), []
        else:
            grams, *slots = HeadGram.apply(weight, blocks, chunks)  # type: ignore[no-untyped-call]
        if values is not None:
            pieces = [(slice(0, chunks), grams[0] if chunks == 1 else grams)]
        elif grams.shape[0] == 1:
            pieces = [(slice(0, chunks), grams[0])]
        else:
            pieces = [(slice(0, chunks - 1), grams[0]), (slice(chunks - 1, chunks), grams[1])]
        return WeightedGram(pieces, weights, slots)

    def _kinds(self, like: Tensor) -> Tensor:
        """Return ones where weights are, for each kind of chunk: full ones if there are some, and the cut last one."""
        used = torch.arange(self.chunk_size, device=like.device) < self.chunk_size - self.rest
        last = used.to(like.dtype).unsqueeze(0)
        return last if self.num_chunks == 1 else torch.cat([torch.ones_like(last), last])

    def shift(self, weighted: WeightedGram, center: Tensor | None) -> Shift | None:
        r"""Move the origin of the activations, so that no large norms are subtracted from each other.

        With :math:`d = b - m` for the ``center`` :math:`m`, any activations :math:`a^*` and
        :math:`r = d + W a^*`,

        .. math::
            |W a + d|^2_\Lambda = |W (a - a^*)|^2_\Lambda + 2 (a - a^*)^\top W^\top \Lambda r + |r|^2_\Lambda .

        Here :math:`a^*` are constants that (nearly) minimize :math:`|r|`.

        Returns:
            :math:`a^*` and :math:`W^\top \Lambda r`, each ``(*B', C, H)``, and :math:`|r|^2_\Lambda` ``(*B',)``; None
            if there is neither a bias nor a center.
        """
        if center is None and self.bias is None:
            return None
        if center is not None:
            check_shape("center", center, (-1, self.num_weights))
        kept = weighted.shifts.peek((center, self.bias))
        if kept is not None:
            return kept
        precision = weighted.precision
        if precision is None and self.num_chunks > 1:
            if center is None:
                return self._common_shift(weighted)
            if self.rest:
                full, last = self._kinds(self.weight).split(1)
                precision = torch.cat([full.expand(self.num_chunks - 1, -1), last])
        moved = self._offset(center)
        start = _origin(weighted.pieces, precision, self.weight, moved)
        if weighted.slots and (center is None or center.ndim == 1):
            slots = [weighted.slots.pop() for _ in range(len(weighted.slots))][::-1]
            made = (start, *HeadShift.apply(moved, start, self.weight, precision, *slots))  # type: ignore[no-untyped-call]
            return weighted.shifts.get((center, self.bias), lambda: made)
        return (start, *head_shift(moved, start, self.weight, precision))

    def _common_shift(self, weighted: WeightedGram) -> Shift:
        """Compute the shift of the bias where chunks are alike: once for each kind of chunk, not for each chunk."""
        kinds = len(weighted.pieces)
        precision = self._kinds(self.weight)[-kinds:] if self.rest else None
        moved = self._offset(None)[-kinds:]
        places = [(slice(i, i + 1), gram) for i, (_, gram) in enumerate(weighted.pieces)]
        start = _origin(places, precision, self.weight, moved)
        residual = moved + start @ self.weight.mT
        times = residual if precision is None else residual * precision
        squares = (times * residual).sum(-1)
        counts = [at.stop - at.start for at, _ in weighted.pieces]
        norm = torch.stack([square * count for square, count in zip(squares.unbind(), counts, strict=True)]).sum()
        spread = [
            torch.cat([row.expand(count, -1) for row, count in zip(rows.split(1), counts, strict=True)])
            for rows in (start, times @ self.weight)
        ]
        return spread[0], spread[1], norm

    def _offset(self, center: Tensor | None) -> Tensor:
        """Compute bias minus center, by chunks ``(*B', C, K)``."""
        bias = None if self.bias is None else self.bias.expand(self.num_chunks, -1)
        if center is None:
            if bias is None:
                raise value_error("center", expected="a tensor where the head has no bias", got=None)
            return bias
        return -self.by_chunks(center) if bias is None else bias - self.by_chunks(center)


@torch.no_grad()
def _origin(pieces: list[tuple[slice, Tensor]], precision: Tensor | None, weight: Tensor, moved: Tensor) -> Tensor:
    """Find activations ``(*B', C, H)`` that nearly minimize the norm of ``moved + W a``, by damped normal equations."""
    right = (moved if precision is None else moved * precision) @ weight
    parts = []
    for chunks, gram in pieces:
        level = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        damping = 10 * torch.finfo(gram.dtype).eps * level + torch.finfo(gram.dtype).tiny
        identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        root, _ = torch.linalg.cholesky_ex(gram + damping * identity)
        rows = right[..., chunks, :]
        if gram.ndim == 2:
            solved = torch.cholesky_solve(rows.mT, root).mT
        else:
            solved = torch.cholesky_solve(rows.unsqueeze(-1), root).squeeze(-1)
        parts.append(-solved)
    return torch.nan_to_num(torch.cat(parts, dim=-2), posinf=0.0, neginf=0.0)
