"""KL from nearest-neighbor distances, for a handful of dimensions."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Distribution

from ...errors import check_int, value_error
from .._split import check_value, draw_from, number_of_samples, prior_of, sample_from, whiten_like
from ..base import KLEstimate, KLEstimator, as_distribution
from .kernels import cross_distances

__all__ = ["NearestNeighbor"]


class NearestNeighbor(KLEstimator):
    r"""Consistent KL from samples alone, whose bias falls as :math:`M^{-1/P}`.

    .. math:: \mathrm{KL} \approx \tfrac PM \sum_i \log \frac{\nu_k(i)}{\rho_k(i)} + \log \frac{M_p}{M - 1}

    with the distances :math:`\rho_k(i)` and :math:`\nu_k(i)` from the sample ``i`` of ``q`` to its ``k``-th neighbor
    among the other samples of ``q`` and among those of ``p``. It needs no density of either side. Use it up to about
    ten
    dimensions: with 1000 samples of 100 dimensions it found 86 of 415 nats. Its gradient is noisy.

    Args:
        num_draws: samples ``M`` of each side.
        k: which neighbor.

    References:
        Wang, Kulkarni, Verdu, "Divergence estimation for multidimensional densities via k-nearest-neighbor
        distances", 2009.
    """

    def __init__(self, num_draws: int = 1000, k: int = 1) -> None:
        self.num_draws = check_int("num_draws", num_draws, 2)
        self.k = check_int("k", k, 1)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` draws of each side (``num_draws`` if None).

        Returns:
            Among the diagnostics ``reliable``: whether there are at most ten weights.
        """
        posterior = as_distribution(q)
        prior = prior_of(posterior, p)
        num = number_of_samples(num_samples, self.num_draws, 2, "It compares samples with each other.")
        if self.k >= num:
            raise value_error("num_samples", expected=f"more than k = {self.k} samples", got=num)
        x = whiten_like(posterior, draw_from(posterior, num, generator).w)
        y = whiten_like(posterior, sample_from(prior, num, generator))
        far = torch.diag(torch.full((num,), math.inf, dtype=torch.float64, device=x.device))
        within = (cross_distances(x, x) + far.to(x.device)).kthvalue(self.k, dim=1).values
        across = cross_distances(x, y).kthvalue(self.k, dim=1).values
        tiny = torch.finfo(within.dtype).tiny
        size = x.shape[1]
        terms = 0.5 * size * (across.clamp_min(tiny).log() - within.clamp_min(tiny).log())
        surrogate = (terms.mean() + math.log(num / (num - 1))).to(x)
        value = check_value(surrogate.detach(), "NearestNeighbor")
        return KLEstimate(value, surrogate, None, None, {"reliable": size <= 10, "k": self.k})
