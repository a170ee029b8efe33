"""The choice of an estimator by the kind of posterior and prior."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from ..distributions.base import WeightDraw, has_log_prob
from ..distributions.dirac import Dirac
from ..distributions.gaussian_forms import as_low_rank
from ..distributions.semi_implicit import SemiImplicit, SharedNoise
from ..errors import value_error
from ..geometry.jacobian import JacobianGeometry
from .accepted import WRITE_LOG_PROB
from .base import DensityEstimator, KLEstimate, KLEstimator, as_pair
from .change_of_variables import ChangeOfVariables
from .closed_form import ClosedForm, has_closed_form
from .latent.livi import LIVI
from .latent.livi_stochastic import StochasticLIVI
from .monte_carlo import MonteCarlo
from .samples.ssge import SSGE

__all__ = ["Auto"]

_MANY_LATENTS = 128
_MANY_ENTRIES = 2**29
"""Entries of the Jacobians of an estimate from which on they are assumed not to fit into memory."""
_SAMPLES, _FEW_WEIGHTS = 100, 50
"""Samples of a kernel score, and weights up to which it finds the widths of a Gaussian to about a tenth."""


class Auto(DensityEstimator):
    """The best estimator for the posterior and prior at hand.

    - a pair with a closed form, linear hypernetworks included: :class:`ClosedForm`;
    - a hypernetwork posterior: :class:`LIVI`; :class:`StochasticLIVI` where the latents are many, the map has no linear
      head and its Jacobians would not fit into memory;
    - one with shared noise: :class:`ChangeOfVariables`;
    - anything else with a density: :class:`MonteCarlo`;
    - up to 50 weights without one, of which only draws are known: :class:`SSGE`, a gradient without a value. With more
      it would find too little of the entropy, so ``log_prob`` is asked for.

    Args:
        num_samples: latents or weight vectors per estimate.
        num_latents: old name of ``num_samples``.

    Diagnostics:
        Those of the chosen estimator; its name ``choice`` and the reason ``because``.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> q, p = (MeanFieldGaussian(torch.full((4,), loc), torch.ones(4)) for loc in (0.0, 1.0))
        >>> Auto().estimate(q, p).diagnostics["choice"]
        'ClosedForm'
    """

    min_samples = None
    density_per_draw = False

    def __init__(self, num_samples: int = 10, *, num_latents: int | None = None) -> None:
        self.num_samples = self._check_count(num_samples, num_latents=num_latents)

    def choose(self, q: Distribution | nn.Module, p: Distribution | nn.Module) -> tuple[KLEstimator, str]:
        """Return the estimator and the reason."""
        posterior, prior = as_pair(q, p)
        if isinstance(posterior, SharedNoise):
            return ChangeOfVariables(self.num_samples), "shared noise: one square map from noise to weights"
        if isinstance(posterior, SemiImplicit):
            return self._choose_semi_implicit(posterior, prior)
        if has_closed_form(posterior, prior):
            return ClosedForm(), "the pair has a closed form"
        if has_log_prob(posterior):
            return MonteCarlo(self.num_samples), "q has a density, the pair no closed form"
        if posterior.event_shape[0] <= _FEW_WEIGHTS:
            return SSGE(max(_SAMPLES, self.num_samples)), "q has no log_prob, so only its samples are known"
        expected = f"a distribution with log_prob, or of at most {_FEW_WEIGHTS} weights"
        found = f"{type(posterior).__name__} of {posterior.event_shape[0]} weights without log_prob"
        raise value_error("q", expected=expected, found=found, hint=WRITE_LOG_PROB)

    def _choose_semi_implicit(self, q: SemiImplicit, p: Distribution) -> tuple[DensityEstimator, str]:
        n, num = q.latent_size, q.geometry.num_weights
        known = as_low_rank(p) is not None or isinstance(p, MultivariateNormal)  # told without an evaluation
        if q.geometry.is_affine and (known or has_closed_form(q, p)):
            return ClosedForm(), f"linear hypernetwork, Gaussian prior: low-rank Gaussians (n={n}, P={num})"
        if (
            isinstance(q.geometry, JacobianGeometry)
            and n > _MANY_LATENTS
            and n * num * self.num_samples > _MANY_ENTRIES
        ):
            why = f"n={n} latents without a linear head, Jacobians of P={num} rows do not fit"
            return StochasticLIVI(min(4, self.num_samples)), why
        if q.geometry.is_affine:
            return LIVI(self.num_samples), f"linear hypernetwork, another prior: exact information (n={n}, P={num})"
        return LIVI(self.num_samples), f"nonlinear hypernetwork, n={n}, P={num}: a determinant of size n"

    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int | None, generator: torch.Generator | None
    ) -> KLEstimate:
        chosen, why = self.choose(q, p)
        num_samples = max(num_samples or 0, _SAMPLES) if isinstance(chosen, SSGE) else num_samples
        found = chosen.estimate(q, p, num_samples, generator)
        return replace(found, diagnostics={**found.diagnostics, "choice": type(chosen).__name__, "because": why})

    def _log_density(self, q: Distribution, draw: WeightDraw) -> Tensor:
        """Evaluate by the estimator that suits ``q``."""
        return _density_estimator(q).log_density(q, draw)


def _density_estimator(q: Distribution) -> DensityEstimator:
    if isinstance(q, SharedNoise):
        return ChangeOfVariables()
    if isinstance(q, (Dirac, MultivariateNormal)) or as_low_rank(q) is not None:
        return ClosedForm()
    return LIVI() if isinstance(q, SemiImplicit) else MonteCarlo()
