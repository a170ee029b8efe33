"""KL by formula, for the pairs that have one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from ..distributions.base import WeightDraw
from ..distributions.dirac import Dirac
from ..distributions.gaussian_forms import as_low_rank
from ..distributions.kl import gaussian_pair_kl, radial_gaussian_kl
from ..distributions.radial import Radial
from ..distributions.semi_implicit import SemiImplicit
from ._cross_entropy import log_prob_of
from ._split import check_value, pair
from .base import KLEstimate, KLEstimator, as_distribution

__all__ = ["ClosedForm", "has_closed_form"]


class ClosedForm(KLEstimator):
    r"""The exact KL: Gaussians of any structure, radial to Gaussian, linear hypernetworks, what torch has registered.

    A :class:`~bayeshnet.distributions.Dirac` has no KL: its estimate has no value, and the gradient of
    ``-log p(loc)``, maximum a-posteriori learning.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> q, p = (MeanFieldGaussian(torch.full((4,), loc), torch.ones(4)) for loc in (0.0, 1.0))
        >>> ClosedForm().estimate(q, p).value
        tensor(2.)
    """

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """The KL; nothing is drawn, ``num_samples`` and ``generator`` are not used."""
        posterior, prior = pair(q, p)
        if isinstance(posterior, Dirac):
            surrogate = -log_prob_of(prior, posterior.loc.unsqueeze(0), generator).squeeze(0)
            check_value(surrogate.detach(), "ClosedForm")
            return KLEstimate(None, surrogate, diagnostics={"why_no_value": "a point mass has no density"})
        kl = _formula(posterior, prior)
        if kl is None:
            raise ValueError(
                f"q, p: expected a pair with a closed form, got {type(posterior).__name__} and {type(prior).__name__}. "
                "Use MonteCarlo where q has a density, LIVI for a hypernetwork posterior, or Auto."
            )
        return KLEstimate(check_value(kl.detach(), "ClosedForm"), kl)

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Log-density ``(S,)``; of a Gaussian with the gradient of its entropy, which has no noise; of a Dirac zero."""
        posterior = as_distribution(q)
        if isinstance(posterior, Dirac):
            return torch.zeros_like(draw.w[:, 0])
        if isinstance(posterior, SemiImplicit):
            if not posterior.geometry.is_affine:
                raise ValueError(
                    "q: expected a distribution with a density, got a hypernetwork posterior that is not linear. "
                    "Use LIVI or ImportanceSandwich."
                )
            posterior = posterior.to_gaussian()
        log_density = posterior.log_prob(draw.w)
        try:
            negative_entropy = -posterior.entropy()
        except NotImplementedError:
            return log_density
        return log_density.detach() + (negative_entropy - negative_entropy.detach())


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether :class:`ClosedForm` knows the pair."""
    if isinstance(q, Dirac):
        return True
    with torch.no_grad():
        return _formula(q, p) is not None


def _formula(q: Distribution, p: Distribution) -> Tensor | None:
    """The KL, or None where no formula is known."""
    kl = gaussian_pair_kl(q, p)
    if kl is not None:
        return kl
    prior = as_low_rank(p)
    if isinstance(q, Radial) and prior is not None and prior[2] is None:
        return radial_gaussian_kl(q, prior[0], prior[1])
    try:
        return kl_divergence(q, p)
    except (NotImplementedError, ValueError):
        return None
