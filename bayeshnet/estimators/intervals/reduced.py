"""Posteriors of few numbers with the mutual information of posteriors of many weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit
from ...geometry import EmbeddedGeometry, Geometry, HeadGeometry
from ...geometry.body import Body

__all__ = ["SingleHead", "column", "reduced", "rotated", "single_head"]


@torch.no_grad()
def reduced(q: SemiImplicit) -> SemiImplicit:
    r"""Return a posterior of at most as many numbers, with the same latent and the same mutual information.

    Where the map ends in a linear head, :math:`h(z) = W a(z) + b`, let :math:`\Sigma^{-1} W = Q R` with orthonormal
    columns in ``Q``, and :math:`\Sigma` the noise. Then

    .. math:: Q^\top \Sigma^{-1} (u - b) = R a(z) + \varepsilon', \qquad \varepsilon' \sim N(0, I_H),

    and the rest of :math:`\Sigma^{-1} u` is noise that does not depend on ``z``: distances of weights in units of the
    noise differ by what is the same for all latents. So everything about :math:`p(z | u)` is a matter of ``H`` numbers
    for each chunk, however many weights there are. A posterior whose map has no such head, or one that is not larger,
    is returned as it is.

    Args:
        q: posterior, in double precision; others are returned as they are.

    Example:
        >>> from bayeshnet.distributions import HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[50, 20]], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> reduced(HypernetPosterior(hnet.double())()).geometry.num_weights
        8
    """
    if q.sigma.dtype != torch.float64:
        return q
    found = _chunked(q.geometry, q.sigma) if single_head(q.geometry) is None else _single(q.geometry, q.sigma)
    return q if found is None else SemiImplicit(found, 1.0)


@dataclass(frozen=True)
class SingleHead:
    """A map that ends in one linear head.

    Attributes:
        body: the map to the activations, of one chunk.
        weight: matrix ``(P, H)``.
        bias: vector ``(P,)``.
    """

    body: Body
    weight: Tensor
    bias: Tensor


def single_head(geometry: Geometry) -> SingleHead | None:
    """Return the head of a map that ends in one, with zeros where the map is constantly zero; else None."""
    if isinstance(geometry, EmbeddedGeometry):
        inner = single_head(geometry.inner_map)
        if inner is None:
            return None
        rows, entries = (x.new_zeros(geometry.num_weights, *x.shape[1:]) for x in (inner.weight, inner.bias))
        placed = rows.index_copy(0, geometry.places, inner.weight), entries.index_copy(0, geometry.places, inner.bias)
        return SingleHead(inner.body, *placed)
    if not isinstance(geometry, HeadGeometry) or geometry.body.num_chunks != 1:
        return None
    weight, bias = geometry.head.weight[: geometry.num_weights], geometry.head.bias
    return SingleHead(geometry.body, weight, weight.new_zeros(len(weight)) if bias is None else bias[: len(weight)])


def _single(geometry: Geometry, sigma: Tensor) -> Geometry | None:
    """Return a map to fewer numbers whose noise is one, or None if there is none."""
    head = single_head(geometry)
    if head is None or head.weight.shape[1] >= len(head.weight):
        return None
    return rotated(head.body, head.weight / column(sigma))


def _chunked(geometry: Geometry, sigma: Tensor) -> Geometry | None:
    """Return the same for a head that several chunks share, if they all have the same noise."""
    if not isinstance(geometry, HeadGeometry) or geometry.head.rest or sigma.ndim:
        return None
    weight = geometry.head.weight
    return None if weight.shape[1] >= len(weight) else rotated(geometry.body, weight / sigma)


def column(x: Tensor) -> Tensor:
    """Return a number ``()``, or a column ``(P, 1)`` of numbers ``(P,)``."""
    return x.unsqueeze(-1) if x.ndim else x


def rotated(body: Body, weight: Tensor, bias: Tensor | None = None) -> HeadGeometry:
    """Return a map to ``C H`` numbers, or one more for each chunk with a bias, with the distances of ``W a + b``."""
    root = torch.linalg.qr(weight if bias is None else torch.cat([weight, bias.unsqueeze(-1)], 1), mode="r").R
    size = weight.shape[1]
    return HeadGeometry(body, root[:, :size], None if bias is None else root[:, size], body.num_chunks * len(root))
