"""SIVI: semi-implicit bounds from fresh latents, limited to log K nats of mutual information."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...errors import check_int
from ...geometry.linalg import precise
from .._cross_entropy import analytic_part
from .._split import as_semi_implicit, check_value, latent_and_noise, number_of_samples, prior_of, spread_of
from ..base import KLEstimate, KLEstimator, MutualInformation
from ..latent_posterior import Anchored

__all__ = ["SIVI"]


class SIVI(KLEstimator):
    r"""An upper bound of the KL from ``K`` latents drawn from the prior of the latent.

    .. math:: I(w; z) \ge E \left[-\log \tfrac1{K+1} \sum_{k=0}^K
        \frac{N(w; h(z_k), \sigma^2)}{N(w; h(z_0), \sigma^2)}\right], \qquad \text{at most } \log(K + 1).

    Hypernetwork posteriors usually have tens of nats of mutual information, of which this recovers ``log(K + 1)``; then
    its gradient vanishes and nothing keeps the generated weights from collapsing. It is here as a check: a bound that
    other estimates must respect, tight once ``K`` exceeds ``exp(I)``.

    Args:
        num_draws: weight vectors ``S``.
        num_latents: fresh latents ``K``, shared by the draws.

    References:
        Yin, Zhou, "Semi-implicit variational inference", 2018.
        Molchanov, Kharitonov, Sobolev, Vetrov, "Doubly semi-implicit variational inference", 2019.
    """

    def __init__(self, num_draws: int = 32, num_latents: int = 100) -> None:
        self.num_draws = check_int("num_draws", num_draws, 1)
        self.num_latents = check_int("num_latents", num_latents, 1)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the bound from ``num_samples`` weight vectors (``num_draws`` if None).

        Returns:
            A :class:`KLEstimate` whose ``value`` is the bound ``upper``. ``saturated`` among its diagnostics says that
            the information found is within one nat of the most that ``K`` latents can show.
        """
        posterior = as_semi_implicit(q, "SIVI")
        prior = prior_of(posterior, p)
        draw = posterior.draw(number_of_samples(num_samples, self.num_draws), generator)
        rest, constant = analytic_part(posterior, prior, *latent_and_noise(draw), generator)
        info = self.mutual_information(posterior, draw, generator)
        analytic = constant + rest.mean()
        surrogate = analytic - info.value
        value = check_value(surrogate.detach(), "SIVI")
        diagnostics = {
            "analytic": analytic.detach(),
            "mutual_information": info.value.detach(),
            "constant": constant.detach(),
            "standard_error": info.standard_error,
            **info.diagnostics,
        }
        return KLEstimate(value, surrogate, None, value, diagnostics)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        """A lower bound, in expectation, of the mutual information on given draws."""
        posterior = as_semi_implicit(q, "SIVI")
        z0, eps = latent_and_noise(draw)
        fresh = posterior.geometry.draw_latent(self.num_latents, generator)
        ratio = precise(Anchored(posterior.geometry, posterior.sigma**-2, z0, eps / posterior.sigma).log_ratio(fresh))
        ratio = ratio.expand(z0.shape[0], -1)
        limit = math.log(self.num_latents + 1)
        per_draw = limit - torch.logsumexp(torch.cat([torch.zeros_like(ratio[:, :1]), ratio], dim=1), dim=1)
        value = per_draw.mean().to(z0)
        diagnostics = {"limit": limit, "saturated": value.detach() > limit - 1}
        return MutualInformation(value, per_draw, spread_of(per_draw), value.detach(), None, diagnostics)
