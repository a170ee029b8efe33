"""What guides know of distributions and estimators."""

from __future__ import annotations

from torch.distributions import Distribution

from ..distributions.dirac import Dirac
from ..distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ..estimators import ImportanceSandwich, KLEstimator, MonteCarlo

__all__ = ["has_density_per_draw", "has_exact_density"]


def has_exact_density(distribution: Distribution) -> bool:
    """Whether ``log_prob`` answers at any weights: not for nonlinear hypernetworks and not for point masses."""
    if isinstance(distribution, SemiImplicit):
        return distribution.geometry.is_affine
    return not isinstance(distribution, (GeneratedWeights, Dirac))


def has_density_per_draw(estimator: KLEstimator) -> bool:
    """Whether ``log_density`` and its gradient are those of each draw; for most they are so on average over draws."""
    if isinstance(estimator, MonteCarlo):
        return not estimator.stick_the_landing
    return isinstance(estimator, ImportanceSandwich) and not estimator.control_variate
