"""KL by Monte Carlo, for a posterior with a density."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from ..distributions.base import WeightDraw
from ..distributions.dirac import Dirac
from ..distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ..errors import check_int, type_error
from ._cross_entropy import log_prob_of
from ._split import check_value, draw_from, number_of_samples, prior_of, spread_of
from .base import KLEstimate, KLEstimator, as_distribution

__all__ = ["MonteCarlo", "detached"]


class MonteCarlo(KLEstimator):
    r"""The mean of :math:`\log q(w) - \log p(w)` over draws, unbiased for any posterior with a density.

    The gradient sticks the landing: the parameters inside ``log q`` are constant, only the path through ``w`` counts.
    That is unbiased as :math:`E_q \nabla_\theta \log q_\theta = 0`, and free of noise where q equals the target.

    Args:
        num_draws: weight vectors per estimate.
        stick_the_landing: off for the plain gradient.

    References:
        Roeder, Wu, Duvenaud, "Sticking the landing: simple, lower-variance gradient estimators for variational
        inference", 2017.
    """

    def __init__(self, num_draws: int = 16, stick_the_landing: bool = True) -> None:
        self.num_draws = check_int("num_draws", num_draws, 1)
        self.stick_the_landing = bool(stick_the_landing)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` weight vectors (``num_draws`` if None)."""
        posterior = _explicit(q)
        prior = prior_of(posterior, p)
        draw = draw_from(posterior, number_of_samples(num_samples, self.num_draws), generator)
        terms = self.log_density(posterior, draw) - log_prob_of(prior, draw.w, generator)
        surrogate = terms.mean()
        value = check_value(surrogate.detach(), "MonteCarlo")
        return KLEstimate(value, surrogate, diagnostics={"standard_error": spread_of(terms)})

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Log-density ``(S,)`` at the draw's weights, with gradient through the weights alone."""
        posterior = _explicit(q)
        constant = detached(posterior) if self.stick_the_landing else None
        return (posterior if constant is None else constant).log_prob(draw.w)


def detached(q: Distribution) -> Distribution | None:
    """The same distribution with constant parameters; None where it is not known how, or not wise.

    The latter is a radial distribution, whose density has a pole at its mean: the path's gradient has no variance.
    """
    own = getattr(q, "detached", None)
    if own is not None:
        return own()
    if isinstance(q, Independent):
        base = detached(q.base_dist)
        return None if base is None else Independent(base, q.reinterpreted_batch_ndims, validate_args=False)
    if type(q).__module__.startswith("torch.distributions") and q.arg_constraints:
        stored = {name: q.__dict__[name].detach() for name in q.arg_constraints if name in q.__dict__}
        if stored:
            return type(q)(**stored, validate_args=False)
    return None


def _explicit(q: Distribution | nn.Module) -> Distribution:
    """``q`` as a distribution with a density."""
    posterior = as_distribution(q)
    if isinstance(posterior, SemiImplicit) and posterior.geometry.is_affine:
        return posterior.to_gaussian()
    if isinstance(posterior, (GeneratedWeights, Dirac)):
        raise type_error(
            "q",
            expected="a distribution with a density",
            found=type(posterior).__name__,
            hint="Use LIVI or ImportanceSandwich for a hypernetwork posterior, ClosedForm for a Dirac.",
        )
    return posterior
