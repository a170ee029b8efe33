"""The geometry of hypernetworks that end in a linear head, computed from small Gram matrices of the head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..deprecation import renamed_arguments
from ..errors import check_shape, type_error
from ..speed import shortcuts
from .base import Geometry, Precision, split_precision
from .body import Body
from .linear_head import LinearHead, WeightedGram

__all__ = ["HeadGeometry"]


class HeadGeometry(Geometry):
    r"""Geometry of :math:`h(z) = (W a_c(z) + b)_{c=1..C}`, truncated to :math:`P` weights.

    With the small Jacobians :math:`J_c` of the activations and the precision :math:`\Lambda_c` of chunk :math:`c`,

    .. math::
        J^\top \Lambda J = \sum_c J_c^\top G_c J_c, \qquad G_c = W^\top \Lambda_c W,

    so weight vectors are built only by ``__call__`` and :meth:`jvp`, and where they are short. With one number as
    precision all chunks share one :math:`G`, except for a truncated last one. The geometry keeps the Gram matrices of
    the most recent precision tensors.

    Args:
        body: the map from latents to activations.
        weight: matrix :math:`W` ``(K, H)`` of the head.
        bias: vector :math:`b` ``(K,)`` of the head, or None.
        num_weights: number :math:`P` of weights, at most ``C * K``.

    Shape:
        As in :class:`~bayeshnet.geometry.base.Geometry`.

    Example:
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[20, 10], [20]], uncond_in_size=3, cond_in_size=0, verbose=False)
        >>> geometry = hnet.geometry()
        >>> z = geometry.draw_latent(5)
        >>> geometry.gram(z).shape, geometry.sqdist(z).shape
        (torch.Size([5, 3, 3]), torch.Size([5]))
    """

    def __init__(self, body: Body, weight: Tensor, bias: Tensor | None, num_weights: int) -> None:
        if not (hasattr(body, "push") and hasattr(body, "pull")):
            raise type_error("body", expected="a Body, the map from latents to activations", got=body)
        self.body = body
        self.head = LinearHead(weight, bias, body.num_chunks, num_weights)
        self.latent_size, self.num_weights = body.latent_size, num_weights
        self.is_affine = body.is_affine

    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)``."""
        return self.head.weight.new_zeros(self.latent_size)

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""
        return self.head(self._activations(z))

    def part(self, z: Tensor, start: int, stop: int) -> Tensor:
        """Evaluate entries ``start`` to ``stop`` of ``h(z)`` from the chunks that hold them: ``(*B, stop - start)``."""
        size = self.head.chunk_size
        first, last = start // size, (stop - 1) // size
        a = self.body(check_shape("z", z, (-1, self.latent_size)), chunks=slice(first, last + 1))
        return self.head.part(a, start - first * size, stop - first * size)

    def _activations(self, z: Tensor) -> Tensor:
        return self.body(check_shape("z", z, (-1, self.latent_size)))

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""
        check_shape("z", z, (-1, self.latent_size))
        values, factor = split_precision(precision, self.num_weights)
        small = self.num_weights * self.head.weight.shape[1] ** 2 <= 16 * shortcuts().short_weights
        weighted = self.head.weighted_gram(values, keep=not small)
        chunks = self.body.num_chunks
        per_chunk = max(1, z[..., 0].numel() * self.latent_size * self.head.weight.shape[1])
        step = max(1, shortcuts().jacobian_block // per_chunk)
        if step >= chunks:
            return factor * self._gram_block(z, weighted, 0, chunks)
        total = z.new_zeros(())
        for start in range(0, chunks, step):
            stop = min(chunks, start + step)
            total = total + checkpoint(self._gram_block, z, weighted, start, stop, use_reentrant=False)
        return factor * total

    def _gram_block(self, z: Tensor, weighted: WeightedGram, start: int, stop: int) -> Tensor:
        """Sum the terms of chunks ``start`` to ``stop`` of the Gram matrix."""
        _, moved = self.body.push(z, chunks=slice(start, stop))
        gram = weighted.gram(moved, start, stop)
        return gram.expand(*z.shape[:-1], -1, -1)

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-c|^2_\Lambda` to a ``center`` ``(*B', P)`` or zero: ``(*B,)``."""
        values, factor = split_precision(precision, self.num_weights)
        a = self._activations(z)
        if z.numel() // self.latent_size * self.num_weights <= shortcuts().short_weights:
            return factor * self._direct(a, center, values)
        weighted = self.head.weighted_gram(values)
        shift = self.head.shift(weighted, center)
        if shift is None:
            return factor * weighted.sqnorm(a)
        start, pulled, norm = shift
        delta = a - start
        return factor * (weighted.sqnorm(delta) + 2 * (delta * pulled).sum((-1, -2)) + norm)

    def _direct(self, a: Tensor, center: Tensor | None, values: Tensor | None) -> Tensor:
        """Compute squared distances from weight vectors."""
        out = self.head(a)
        if center is not None:
            out = out - check_shape("center", center, (-1, self.num_weights))
        squares = out * out  # the gradient of a power is slower
        return squares.sum(-1) if values is None else (squares * values).sum(-1)

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-h(z')|^2_\Lambda` from differences of activations: ``(*B,)``."""
        values, factor = split_precision(precision, self.num_weights)
        return factor * self.head.weighted_gram(values).sqnorm(self._activations(z) - self._activations(other))

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return (self._activations(z) * self.head.pull(v)).sum((-1, -2)) + self.head.dot_bias(v)

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        r"""Return the function :math:`z, z' \mapsto v^\top (h(z) - h(z'))`, with ``v`` pulled back through the head."""
        pulled = self.head.pull(v)
        return lambda z, other: ((self._activations(z) - self._activations(other)) * pulled).sum((-1, -2))

    def log_ratio_from(self, anchor: Tensor, v: Tensor, precision: Precision = 1.0) -> Callable[[Tensor], Tensor]:
        r"""Return the function :math:`z \mapsto -v^\top \Delta - \tfrac12 \Delta^\top \Lambda \Delta`, ``(*B,)``.

        With :math:`\Delta = h(a) - h(z)` and :math:`v = \Lambda (u - h(a))` it is the log-likelihood of ``u`` at ``z``
        minus that at the anchor ``a``. Both parts come from one difference of activations. Results share what depends
        on ``v`` and the anchor alone, as those of :meth:`against` do.
        """
        pulled, start = self.head.pull(v), self._activations(anchor)
        values, factor = split_precision(precision, self.num_weights)

        def log_ratio(z: Tensor) -> Tensor:
            delta = start - self._activations(z)
            return -(delta * pulled).sum((-1, -2)) - 0.5 * factor * self.head.weighted_gram(values).sqnorm(delta)

        return log_ratio

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        check_shape("z", z, (-1, self.latent_size))
        return self.body.pull(z, self.head.pull(v))

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Compute the Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""
        check_shape("z", z, (-1, self.latent_size))
        check_shape("t", t, (-1, self.latent_size))
        _, moved = self.body.push(z, t.unsqueeze(-2))
        batch = torch.broadcast_shapes(z.shape[:-1], t.shape[:-1])
        return self.head(moved.squeeze(-3), bias=False).expand(*batch, -1)

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
        check_shape("z", z, (-1, self.latent_size))
        _, moved = self.body.push(z)
        rows = self.head(moved, bias=False).mT if index is None else self.head.rows(moved, index)
        return rows.expand(*z.shape[:-1], -1, -1)
