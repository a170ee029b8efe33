"""SIVI: semi-implicit bounds from fresh latents, limited to log K nats of mutual information."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...errors import check_int
from ...geometry.linalg import precise
from ..accepted import semi_implicit
from ..analytic import analytic_part, kl_of_parts
from ..base import KLEstimate, KLEstimator, MutualInformation
from ..draws import latent_and_noise, standard_error
from ..latent_posterior import Anchored

__all__ = ["SIVI"]


class SIVI(KLEstimator):
    r"""An upper bound of the KL from ``K`` latents drawn from the prior of the latent.

    .. math:: I(w; z) \ge E \left[-\log \tfrac1{K+1} \sum_{k=0}^K
        \frac{N(w; h(z_k), \sigma^2)}{N(w; h(z_0), \sigma^2)}\right], \qquad \text{at most } \log(K + 1).

    Hypernetwork posteriors usually have tens of nats of mutual information, of which this recovers ``log(K + 1)``; then
    its gradient vanishes and nothing keeps the generated weights from collapsing. It serves as a check: a bound that
    other estimates must respect, tight once ``K`` exceeds ``exp(I)``.

    Args:
        num_samples: weight vectors ``S`` per estimate.
        num_latents: latents ``K`` of the bound, the same for all weight vectors.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``analytic``; ``mutual_information``; ``constant``; ``standard_error``, given the ``K`` latents, whose own error
        is not in it and counts where they are few; ``limit``, the ``log(K + 1)`` nats that the bound can find;
        ``saturated``, true if it found more than all but one of them. ``value`` is the bound ``upper``.

    References:
        Yin, Zhou, "Semi-implicit variational inference", 2018.
        Molchanov, Kharitonov, Sobolev, Vetrov, "Doubly semi-implicit variational inference", 2019.
    """

    accepts = semi_implicit

    def __init__(self, num_samples: int = 32, num_latents: int = 100, *, num_draws: int | None = None) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.num_latents = check_int("num_latents", num_latents, 1)

    def _estimate(
        self, q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        draw = q.draw(num_samples, generator)
        analytic = analytic_part(q, p, *latent_and_noise(draw), generator)
        info = self.mutual_information(q, draw, generator)
        diagnostics = {"standard_error": standard_error(analytic.terms - info.per_draw), **info.diagnostics}
        return kl_of_parts(analytic, info.value, (info.lower, None), diagnostics)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        """Estimate a lower bound, in expectation, of the mutual information on given draws."""
        posterior = self._accept(q)
        anchored = Anchored.of(posterior, draw)
        fresh = posterior.geometry.draw_latent(self.num_latents, generator)
        ratio = precise(anchored.log_ratio(fresh)).expand(anchored.latent.shape[0], -1)
        limit = math.log(self.num_latents + 1)
        per_draw = limit - torch.logsumexp(torch.cat([torch.zeros_like(ratio[:, :1]), ratio], dim=1), dim=1)
        value = per_draw.mean().to(anchored.latent)
        diagnostics = {"limit": limit, "saturated": value.detach() > limit - 1}
        return MutualInformation(value, per_draw, standard_error(per_draw), value.detach(), None, diagnostics)
