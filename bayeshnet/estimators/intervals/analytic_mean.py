"""The analytic part of the KL as a mean with its error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions.flat import Flat
from ...distributions.semi_implicit import SemiImplicit
from ...rng import normal_like
from ..analytic import conditional_kl, log_prob_of
from ..noise import noise_entropy
from .implicit_prior import searched_log_prob
from .quasi_random import Mean, normal_mean

__all__ = ["AnalyticMean", "mean_analytic_part"]


@dataclass(frozen=True)
class AnalyticMean:
    """The analytic part between two means, which are the same unless the prior is a hypernetwork.

    Attributes:
        low: lower side.
        high: upper side.
        doubt: why it is not to be trusted, or None.
    """

    low: Mean
    high: Mean
    doubt: str | None = None

    @property
    def middle(self) -> Mean:
        """The mean of both sides."""
        return Mean(0.5 * (self.low.value + self.high.value), max(self.low.error, self.high.error), self.low.dof)


def mean_analytic_part(
    q: SemiImplicit,
    p: Distribution,
    target: float,
    generator: torch.Generator | None,
    num_samples: int = 1024,
    *,
    quick: bool = False,
) -> AnalyticMean:
    r"""Compute :math:`E_z \mathrm{KL}(N(h(z), \sigma^2) \| p)` to a standard error of ``target`` if possible.

    ``num_samples`` is the largest number of weights whose latents are searched, for a prior that is a hypernetwork. For
    other priors without a closed form at most :math:`2^{20}` weight vectors are drawn in a round, fewer if they have
    more than 256 entries.
    """
    like, num = q.geometry.zero_latent(), q.geometry.num_weights
    block = max(1, min(2**13, 2**22 // num))
    gaussian = conditional_kl(q, p)
    if gaussian is not None:
        mean = normal_mean(gaussian.at, like, target, block=block, generator=generator).plus(float(gaussian.constant))
        return AnalyticMean(mean, mean)
    entropy = float(noise_entropy(q))
    if isinstance(p, Flat):
        return AnalyticMean(Mean(-entropy, 0.0), Mean(-entropy, 0.0))
    if isinstance(p, SemiImplicit) and not p.geometry.is_affine:
        low, high, doubt = searched_log_prob(q, p, target, generator, num_samples, quick=quick)
        return AnalyticMean((-high).plus(-entropy), (-low).plus(-entropy), doubt)

    def energy(z: Tensor) -> Tensor:
        eps = normal_like(z, (z.shape[0], num), generator)
        return -log_prob_of(p, q.place(z, eps).w)

    most = max(2**12, min(2**20, 2**28 // num))
    mean = normal_mean(energy, like, target, most=most, block=block, generator=generator).plus(-entropy)
    return AnalyticMean(mean, mean)
