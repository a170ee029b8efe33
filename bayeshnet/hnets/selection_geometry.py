"""The geometry of hypernetworks made of parts, whose weights are selected from those of the parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import check_shape, value_error
from ._assembly import Selection
from ._head_functions import transforms_active
from ._linear_head import split_precision, version
from .geometry import Geometry, Precision

__all__ = ["ConstantGeometry", "SelectionGeometry"]


class ConstantGeometry(Geometry):
    """Weights that do not depend on the latent.

    Args:
        value: the weights ``(P,)``.
        latent_size: number ``n`` of latents.
    """

    is_affine = True

    def __init__(self, value: Tensor, latent_size: int) -> None:
        """Keep the weights."""
        self.value = value
        self.latent_size, self.num_weights = latent_size, value.shape[0]

    def zero_latent(self) -> Tensor:
        """A zero latent ``(n,)``."""
        return self.value.new_zeros(self.latent_size)

    def __call__(self, z: Tensor) -> Tensor:
        """The weights, for each latent: ``(*B, P)``."""
        return self.value.expand(*z.shape[:-1], -1)

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        """Zeros ``(*B, n, n)``."""
        return self.value.new_zeros(*z.shape[:-1], self.latent_size, self.latent_size)

    def sqdist(self, z: Tensor, centre: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        """Squared distance of the weights to ``centre``: ``(*B,)``."""
        values, factor = split_precision(precision, self.num_weights)
        delta = self.value if centre is None else self.value - centre
        norm = factor * (delta * delta if values is None else delta * delta * values).sum(-1)
        return norm.expand(torch.broadcast_shapes(z.shape[:-1], norm.shape))

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        """Zeros ``(*B,)``."""
        return self.value.new_zeros(torch.broadcast_shapes(z.shape[:-1], other.shape[:-1]))

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        """Inner product of the weights with ``v``: ``(*B,)``."""
        product = (self.value * v).sum(-1)
        return product.expand(torch.broadcast_shapes(z.shape[:-1], product.shape))

    def inner_between(self, z: Tensor, other: Tensor, v: Tensor) -> Tensor:
        """Zeros ``(*B,)``."""
        return self.value.new_zeros(torch.broadcast_shapes(z.shape[:-1], other.shape[:-1], v.shape[:-1]))

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        """Zeros ``(*B, n)``."""
        return self.value.new_zeros(*torch.broadcast_shapes(z.shape[:-1], v.shape[:-1]), self.latent_size)

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        """Zeros ``(*B, P)``."""
        return self.value.new_zeros(*torch.broadcast_shapes(z.shape[:-1], t.shape[:-1]), self.num_weights)

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Zeros ``(*B, R, n)``."""
        count = self.num_weights if index is None else index.shape[0]
        return self.value.new_zeros(*z.shape[:-1], count, self.latent_size)


class SelectionGeometry(Geometry):
    r"""Geometry of weights that are each taken from one place of what the parts make, :math:`h(z) = s(z)_{i}`.

    A precision of the weights is pulled back to the sources by adding it up over the places from which weights are
    taken; quadratic forms are then sums over the parts, each in its own cheap way.

    Args:
        parts: geometries of the sources, all of the same latent.
        selection: from where each weight is taken.

    Shape:
        As in :class:`~bayeshnet.hnets.geometry.Geometry`.

    Example:
        >>> parts = [ConstantGeometry(torch.tensor([1.0, 2.0]), 3), ConstantGeometry(torch.tensor([5.0]), 3)]
        >>> geometry = SelectionGeometry(parts, Selection.of(torch.tensor([2, 0]), [2, 1]))
        >>> geometry(torch.zeros(3))
        tensor([5., 1.])
    """

    def __init__(self, parts: Sequence[Geometry], selection: Selection) -> None:
        """Keep the parts; those from which nothing is taken are left out of all sums."""
        sizes = tuple(part.num_weights for part in parts)
        if sizes != selection.sizes:
            raise value_error("parts", f"geometries of {selection.sizes} weights", str(sizes), said=True)
        self.parts, self.selection = list(parts), selection
        self.latent_size, self.num_weights = parts[0].latent_size, selection.index.shape[0]
        self.is_affine = all(part.is_affine for part in parts)
        like = self.zero_latent()
        self.index = selection.index.to(like.device)
        self.counts = [c if isinstance(c, int) else c.to(like) for c in selection.counts]
        self._kept: tuple[Tensor, tuple[Any, ...], list[Any]] | None = None

    def zero_latent(self) -> Tensor:
        """A zero latent ``(n,)``."""
        return self.parts[0].zero_latent()

    def _pulled(self, values: Tensor | None) -> list[Any]:
        """Precisions of the sources, None for a part from which nothing is taken."""
        if values is None:
            return [None if isinstance(c, int) and not c else c for c in self.counts]
        key = (version(values), torch.is_grad_enabled())
        if transforms_active() or self._kept is None or self._kept[0] is not values or self._kept[1] != key:
            pulled = self._spread(values).split(self.selection.sizes)
            used = [not (isinstance(c, int) and c == 0) for c in self.counts]
            found: list[Any] = [p if u else None for p, u in zip(pulled, used, strict=True)]
            if transforms_active():
                return found
            self._kept = (values, key, found)
        return self._kept[2]

    def _spread(self, v: Tensor) -> Tensor:
        """Add ``v`` ``(*B, P)`` up over the places from which the weights are taken."""
        check_shape("v", v, (-1, self.num_weights))
        return v.new_zeros(*v.shape[:-1], sum(self.selection.sizes)).index_add(-1, self.index, v)

    def _sources(self, v: Tensor) -> list[tuple[Geometry, Tensor]]:
        spread = self._spread(v).split(self.selection.sizes, dim=-1)
        return [(p, s) for p, s, c in zip(self.parts, spread, self.counts, strict=True) if not isinstance(c, int) or c]

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""
        return torch.cat([part(z) for part in self.parts], dim=-1)[..., self.index]

    def _weighted(self, precision: Precision) -> tuple[list[tuple[Geometry, Any]], float | Tensor]:
        values, factor = split_precision(precision, self.num_weights)
        pairs = zip(self.parts, self._pulled(values), strict=True)
        return [(part, p) for part, p in pairs if p is not None], factor

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""
        parts, factor = self._weighted(precision)
        return factor * _sum(part.gram(z, p) for part, p in parts)

    def sqdist(self, z: Tensor, centre: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Squared distance :math:`|h(z)-c|^2_\Lambda` to ``centre`` ``(*B', P)`` (zero if None): ``(*B,)``.

        Where a source is taken several times, its distances to several centres are that to their weighted mean, and a
        rest which does not depend on ``z``.
        """
        parts, factor = self._weighted(precision)
        if centre is None:
            return factor * _sum(part.sqdist(z, None, p) for part, p in parts)
        values, _ = split_precision(precision, self.num_weights)
        rest: float | Tensor = 0.0
        if self.selection.injective:
            means = self._spread(centre)
        else:
            weights = centre.new_ones(self.num_weights) if values is None else values
            total = self._spread(weights)
            means = self._spread(centre * weights) / torch.where(total > 0, total, torch.ones_like(total))
            rest = (weights * (centre - means[..., self.index]) ** 2).sum(-1)
        centres = dict(zip(map(id, self.parts), means.split(self.selection.sizes, dim=-1), strict=True))
        return factor * (_sum(part.sqdist(z, centres[id(part)], p) for part, p in parts) + rest)

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Squared distance :math:`|h(z)-h(z')|^2_\Lambda`, part by part: ``(*B,)``."""
        parts, factor = self._weighted(precision)
        return factor * _sum(part.sqdist_between(z, other, p) for part, p in parts)

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return _sum(part.inner(z, s) for part, s in self._sources(v))

    def inner_between(self, z: Tensor, other: Tensor, v: Tensor) -> Tensor:
        r"""Inner product :math:`v^\top (h(z) - h(z'))`, part by part: ``(*B,)``."""
        return self.against(v)(z, other)

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The same as a function of both latents."""
        parts = [part.against(s) for part, s in self._sources(v)]
        return lambda z, other: _sum(part(z, other) for part in parts)

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        return _sum(part.vjp(z, s) for part, s in self._sources(v))

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""
        return torch.cat([part.jvp(z, t) for part in self.parts], dim=-1)[..., self.index]

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
        if index is None:
            return torch.cat([part.rows(z) for part in self.parts], dim=-2)[..., self.index, :]
        places = self.index[index]
        out = self.zero_latent().new_zeros(*z.shape[:-1], len(index), self.latent_size)
        start = 0
        for part in self.parts:
            mine = ((places >= start) & (places < start + part.num_weights)).nonzero().squeeze(-1)
            out = out.index_copy(-2, mine, part.rows(z, places[mine] - start))
            start += part.num_weights
        return out


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    return functools.reduce(torch.add, terms)
