"""KL from nearest-neighbor distances, for a handful of dimensions."""

from __future__ import annotations

import math

import torch
from torch.distributions import Distribution

from ...deprecation import moved_names
from ...errors import check_int, value_error
from ..base import KLEstimate, KLEstimator
from ..draws import draw_from, sample_beside, whiten_like
from .kernels import cross_distances

__all__ = ["NearestNeighbor"]

__getattr__ = moved_names(
    __name__,
    {
        "NearestNeighbour": "estimators.NearestNeighbor",
    },
)


class NearestNeighbor(KLEstimator):
    r"""Consistent KL from samples alone, whose bias falls as :math:`M^{-1/P}`.

    .. math:: \mathrm{KL} \approx \tfrac PM \sum_i \log \frac{\nu_k(i)}{\rho_k(i)} + \log \frac{M_p}{M - 1}

    with the distances :math:`\rho_k(i)` and :math:`\nu_k(i)` from the sample ``i`` of ``q`` to its ``k``-th neighbor
    among the other samples of ``q`` and among those of ``p``. It needs no density of either side. Use it up to about
    ten dimensions: with 1000 samples of 100 dimensions it found 86 of 415 nats. Its gradient is noisy.

    Args:
        num_samples: samples ``M`` of each side.
        k: rank of the neighbor, 1 for the nearest.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``reliable``, true for at most ten weights; ``k``.

    References:
        Wang, Kulkarni, Verdu, "Divergence estimation for multidimensional densities via k-nearest-neighbor
        distances", 2009.
    """

    min_samples = 2

    def __init__(self, num_samples: int = 1000, k: int = 1, *, num_draws: int | None = None) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.k = check_int("k", k, 1)

    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        num = num_samples
        if self.k >= num:
            raise value_error("num_samples", expected=f"more than k = {self.k} samples", got=num)
        x = whiten_like(q, draw_from(q, num, generator).w)
        y = sample_beside(x, q, p, num, generator)
        infinite = torch.diag(torch.full((num,), math.inf, dtype=torch.float64, device=x.device))
        within = (cross_distances(x, x) + infinite).kthvalue(self.k, dim=1).values
        across = cross_distances(x, y).kthvalue(self.k, dim=1).values
        tiny = torch.finfo(within.dtype).tiny
        size = x.shape[1]
        terms = 0.5 * size * (across.clamp_min(tiny).log() - within.clamp_min(tiny).log())
        surrogate = (terms.mean() + math.log(num / (num - 1))).to(x)
        return KLEstimate(surrogate.detach(), surrogate, diagnostics={"reliable": size <= 10, "k": self.k})
