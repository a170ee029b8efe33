"""Posteriors of few numbers with the mutual information of posteriors of many weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit
from ...geometry import EmbeddedGeometry, Geometry, HeadGeometry

__all__ = ["reduced"]


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
    found = _reduced(q.geometry, q.sigma) if q.sigma.dtype == torch.float64 else None
    return q if found is None else SemiImplicit(found, 1.0)


def _reduced(geometry: Geometry, sigma: Tensor) -> Geometry | None:
    """Return a map to fewer numbers whose noise is one, or None if there is none."""
    if isinstance(geometry, EmbeddedGeometry):  # zeros elsewhere
        return _reduced(geometry.inner_map, sigma[geometry.places] if sigma.ndim else sigma)
    if not isinstance(geometry, HeadGeometry):
        return None
    head = geometry.head
    size = head.num_chunks * head.weight.shape[1]
    alike = head.num_chunks == 1 or (head.rest == 0 and not sigma.ndim)
    if size >= geometry.num_weights or not alike:
        return None
    scaled = head.weight[: geometry.num_weights] / (sigma.unsqueeze(-1) if sigma.ndim else sigma)
    return HeadGeometry(geometry.body, torch.linalg.qr(scaled, mode="r").R, None, size)
