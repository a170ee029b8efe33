"""KL by Monte Carlo, for a posterior with a density."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal

from ..distributions.base import WeightDraw
from ..errors import check_flags
from .accepted import with_density
from .analytic import log_prob_of
from .base import DensityEstimator, KLEstimate
from .draws import draw_from, standard_error

__all__ = ["MonteCarlo", "detached"]


class MonteCarlo(DensityEstimator):
    r"""The mean of :math:`\log q(w) - \log p(w)` over draws, unbiased for any posterior with a density.

    The gradient sticks the landing: the parameters inside ``log q`` are constant, only the path through ``w`` counts.
    That is unbiased as :math:`E_q \nabla_\theta \log q_\theta = 0`, and has no variance where q equals the target.

    Args:
        num_samples: weight vectors per estimate.
        stick_the_landing: use that gradient; False for the gradient through the parameters as well.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``standard_error``.

    References:
        Roeder, Wu, Duvenaud, "Sticking the landing: simple, lower-variance gradient estimators for variational
        inference", 2017.
    """

    accepts = with_density

    def __init__(self, num_samples: int = 16, stick_the_landing: bool = True, *, num_draws: int | None = None) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        check_flags(stick_the_landing=stick_the_landing)
        self.stick_the_landing = bool(stick_the_landing)

    @property
    def density_per_draw(self) -> bool:
        """True for the gradient through the parameters as well."""
        return not self.stick_the_landing

    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        draw = draw_from(q, num_samples, generator)
        terms = self._log_density(q, draw) - log_prob_of(p, draw.w, generator)
        surrogate = terms.mean()
        return KLEstimate(surrogate.detach(), surrogate, diagnostics={"standard_error": standard_error(terms)})

    def _log_density(self, q: Distribution, draw: WeightDraw) -> Tensor:
        """Evaluate the density; with the default gradient, through the weights alone."""
        constant = detached(q) if self.stick_the_landing else None
        return (q if constant is None else constant).log_prob(draw.w)


def detached(q: Distribution) -> Distribution | None:
    """Return the same distribution with constant parameters, or None where that is impossible or unwise.

    It is unwise for a radial distribution, whose density has a pole at its mean: the gradient of the path has infinite
    variance.
    """
    own = getattr(q, "detached", None)
    if own is not None:
        found: Distribution | None = own()
        return found
    if isinstance(q, Independent):
        base = detached(q.base_dist)
        return None if base is None else Independent(base, q.reinterpreted_batch_ndims, validate_args=False)
    if isinstance(q, MultivariateNormal):  # which may hold its covariance in several forms
        constant = copy.copy(q)
        for name in [name for name, value in vars(q).items() if isinstance(value, Tensor)]:
            setattr(constant, name, getattr(q, name).detach())
        return constant
    if type(q).__module__.startswith("torch.distributions") and q.arg_constraints:
        stored = {name: q.__dict__[name].detach() for name in q.arg_constraints if name in q.__dict__}
        if stored:
            return type(q)(**stored, validate_args=False)
    return None
