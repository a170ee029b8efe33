"""The geometry of composed hypernetworks, whose weights are selected from the outputs of their parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import check_all
from ..deprecation import moved_names, renamed_arguments
from ..errors import check_flags, check_instance, check_shape, check_sizes, value_error
from ..memo import Memo
from .base import Geometry, Precision, check_index, split_precision

__all__ = ["Selection", "SelectionGeometry"]

__getattr__ = moved_names(
    __name__,
    {
        "ConstantGeometry": "geometry.ConstantGeometry",
    },
)


@dataclass(frozen=True, eq=False)
class Selection:
    """A map that takes each target weight from one place of several source vectors.

    Attributes:
        index: place ``(P,)`` of each target weight in the concatenated sources.
        sizes: number of weights in each source.
        counts: how often each weight of a source is taken: a number for all of them, or a tensor.
        injective: True if no weight is taken twice.
    """

    index: Tensor
    sizes: tuple[int, ...]
    counts: tuple[int | Tensor, ...]
    injective: bool

    def __post_init__(self) -> None:
        """Refuse indices that are no vector of integers, and sizes and counts that do not belong together."""
        check_index("index", self.index)
        sizes = check_sizes("sizes", self.sizes, 0)
        if not isinstance(self.counts, (tuple, list)) or len(self.counts) != len(sizes):
            raise value_error(
                "counts", expected=f"{len(sizes)} numbers or tensors, one for each source", got=self.counts
            )
        for count in self.counts:
            check_instance("counts", count, (int, Tensor), "numbers or tensors")
        check_flags(injective=self.injective)

    @classmethod
    def of(cls, index: Tensor, sizes: Sequence[int]) -> Selection:
        """Count how often each place occurs in ``index``."""
        check_index("index", index)
        total = sum(check_sizes("sizes", sizes, 0))
        if index.is_meta:
            raise value_error("index", expected="places that are known", got=index)
        low, high = (int(index.min()), int(index.max())) if index.numel() else (0, -1)
        if low < 0 or high >= total:
            raise value_error("index", expected=f"places below {total}, the sum of sizes", found=f"{low} to {high}")
        counts = torch.bincount(index, minlength=total).split(list(sizes))
        found = tuple(int(c.max()) if c.numel() and bool((c == c[0]).all()) else c if c.numel() else 0 for c in counts)
        return cls(index, tuple(sizes), found, all(bool((c <= 1).all()) for c in counts))


class SelectionGeometry(Geometry):
    r"""Geometry of weights :math:`h_i(z) = s_{k_i}(z)`, each taken from one place of the parts' outputs :math:`s`.

    A precision of the weights becomes one of the sources by adding it up over the places from which weights are taken;
    quadratic forms are then sums over the parts, each of which computes its own.

    Args:
        parts: geometries of the sources, all of the same latent.
        selection: the source and place of each weight.

    Shape:
        As in :class:`~bayeshnet.geometry.base.Geometry`.

    Example:
        >>> from bayeshnet.geometry import ConstantGeometry
        >>> parts = [ConstantGeometry(torch.tensor([1.0, 2.0]), 3), ConstantGeometry(torch.tensor([5.0]), 3)]
        >>> geometry = SelectionGeometry(parts, Selection.of(torch.tensor([2, 0]), [2, 1]))
        >>> geometry(torch.zeros(3))
        tensor([5., 1.])
    """

    def __init__(self, parts: Sequence[Geometry], selection: Selection) -> None:
        check_all("parts", parts, Geometry, "a list of geometries")
        check_instance("selection", selection, Selection, "a Selection")
        sizes = tuple(part.num_weights for part in parts)
        if sizes != tuple(selection.sizes) or not parts:
            raise value_error("parts", expected=f"geometries of {selection.sizes} weights", found=str(sizes))
        self.parts, self.selection = list(parts), selection
        self.latent_size, self.num_weights = parts[0].latent_size, selection.index.shape[0]
        self.is_affine = all(part.is_affine for part in parts)
        like = self.zero_latent()
        self.index = selection.index.to(like.device)
        self.counts = [c if isinstance(c, int) else c.to(like) for c in selection.counts]
        self._pulled = Memo[list[Any]]()

    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)``."""
        return self.parts[0].zero_latent()

    def _pull(self, values: Tensor | None) -> list[Any]:
        """Compute precisions of the sources, None for a part from which no weight is taken."""
        used = [not (isinstance(c, int) and c == 0) for c in self.counts]
        pulled = self.counts if values is None else self._scatter(values).split(self.selection.sizes)
        return [p if u else None for p, u in zip(pulled, used, strict=True)]

    def _scatter(self, v: Tensor) -> Tensor:
        """Add ``v`` ``(*B, P)`` up over the places from which weights are taken."""
        check_shape("v", v, (-1, self.num_weights))
        return v.new_zeros(*v.shape[:-1], sum(self.selection.sizes)).index_add(-1, self.index, v)

    def _sources(self, v: Tensor) -> list[tuple[Geometry, Tensor]]:
        """Return the parts from which weights are taken, with the sums of ``v`` over their places."""
        sums = self._scatter(v).split(self.selection.sizes, dim=-1)
        return [(p, s) for p, s, c in zip(self.parts, sums, self.counts, strict=True) if not isinstance(c, int) or c]

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""
        return torch.cat([part(z) for part in self.parts], dim=-1)[..., self.index]

    def _weighted(self, precision: Precision) -> tuple[list[tuple[Geometry, Any]], float | Tensor]:
        """Return the parts from which weights are taken, with their precisions, and a common factor."""
        values, factor = split_precision(precision, self.num_weights)
        pairs = zip(self.parts, self._pulled.get((values,), lambda: self._pull(values)), strict=True)
        return [(part, p) for part, p in pairs if p is not None], factor

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""
        parts, factor = self._weighted(precision)
        return factor * _sum(part.gram(z, p) for part, p in parts)

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-c|^2_\Lambda` to a ``center`` ``(*B', P)`` or zero: ``(*B,)``.

        The sum of a source weight's squared distances to several centers is that to their weighted mean, times the sum
        of the precisions, plus a constant that does not depend on ``z``.
        """
        parts, factor = self._weighted(precision)
        if center is None:
            return factor * _sum(part.sqdist(z, None, p) for part, p in parts)
        values, _ = split_precision(precision, self.num_weights)
        rest: float | Tensor = 0.0
        if self.selection.injective:
            means = self._scatter(center)
        else:
            weights = center.new_ones(self.num_weights) if values is None else values
            total = self._scatter(weights)
            means = self._scatter(center * weights) / torch.where(total > 0, total, torch.ones_like(total))
            rest = (weights * (center - means[..., self.index]) ** 2).sum(-1)
        centers = dict(zip(map(id, self.parts), means.split(self.selection.sizes, dim=-1), strict=True))
        return factor * (_sum(part.sqdist(z, centers[id(part)], p) for part, p in parts) + rest)

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-h(z')|^2_\Lambda`, part by part: ``(*B,)``."""
        parts, factor = self._weighted(precision)
        return factor * _sum(part.sqdist_between(z, other, p) for part, p in parts)

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return _sum(part.inner(z, s) for part, s in self._sources(v))

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        r"""Return the function :math:`z, z' \mapsto v^\top (h(z) - h(z'))`, a sum over the parts."""
        parts = [part.against(s) for part, s in self._sources(v)]
        return lambda z, other: _sum(part(z, other) for part in parts)

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        return _sum(part.vjp(z, s) for part, s in self._sources(v))

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Compute the Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""
        return torch.cat([part.jvp(z, t) for part in self.parts], dim=-1)[..., self.index]

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
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
    """Add at least one tensor."""
    return functools.reduce(torch.add, terms)
