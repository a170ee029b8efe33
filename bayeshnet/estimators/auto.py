"""Choose the estimator by what the posterior and the prior are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.base import WeightDraw
from ..distributions.dirac import Dirac
from ..distributions.gaussian_forms import as_low_rank
from ..distributions.semi_implicit import SemiImplicit, SharedNoise
from ..errors import check_int
from ..geometry.jacobian import JacobianGeometry
from ._split import pair
from .base import KLEstimate, KLEstimator, as_distribution
from .change_of_variables import ChangeOfVariables
from .closed_form import ClosedForm, has_closed_form
from .latent.livi import LIVI
from .latent.livi_stochastic import StochasticLIVI
from .monte_carlo import MonteCarlo

__all__ = ["Auto"]

_MANY_LATENTS = 128
_HELD = 2**29


class Auto(KLEstimator):
    """The best estimator for the pair at hand; the result says which and why.

    - a pair with a closed form, a linear hypernetwork among them: :class:`ClosedForm`;
    - a hypernetwork posterior: :class:`LIVI`; :class:`StochasticLIVI` where the latents are many, the map has no linear
      head and its Jacobians would not fit into memory;
    - one with shared noise: :class:`ChangeOfVariables`;
    - anything else with a density: :class:`MonteCarlo`.

    Args:
        num_latents: latents or draws per estimate.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> q, p = (MeanFieldGaussian(torch.full((4,), loc), torch.ones(4)) for loc in (0.0, 1.0))
        >>> Auto().estimate(q, p).diagnostics["choice"]
        'ClosedForm'
    """

    def __init__(self, num_latents: int = 10) -> None:
        self.num_latents = check_int("num_latents", num_latents, 1)

    def choose(self, q: Distribution | nn.Module, p: Distribution | nn.Module) -> tuple[KLEstimator, str]:
        """The estimator and the reason."""
        posterior, prior = pair(q, p)
        if isinstance(posterior, SharedNoise):
            return ChangeOfVariables(self.num_latents), "shared noise: one square map from noise to weights"
        if isinstance(posterior, SemiImplicit):
            return self._choose_semi_implicit(posterior, prior)
        if has_closed_form(posterior, prior):
            return ClosedForm(), "the pair has a closed form"
        return MonteCarlo(self.num_latents), "q has a density, the pair no closed form"

    def _choose_semi_implicit(self, q: SemiImplicit, p: Distribution) -> tuple[KLEstimator, str]:
        n, num = q.latent_size, q.geometry.num_weights
        if q.geometry.is_affine and as_low_rank(p) is not None:
            return ClosedForm(), f"linear hypernetwork, Gaussian prior: low-rank Gaussians (n={n}, P={num})"
        if isinstance(q.geometry, JacobianGeometry) and n > _MANY_LATENTS and n * num * self.num_latents > _HELD:
            why = f"n={n} latents without a linear head, Jacobians of P={num} rows do not fit"
            return StochasticLIVI(min(4, self.num_latents)), why
        return LIVI(self.num_latents), f"nonlinear hypernetwork, n={n}, P={num}: a determinant of size n"

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate with the chosen estimator; its name and the reason are the diagnostics ``choice``, ``because``."""
        posterior, prior = pair(q, p)
        chosen, why = self.choose(posterior, prior)
        found = chosen.estimate(posterior, prior, num_samples, generator)
        diagnostics = {**found.diagnostics, "choice": type(chosen).__name__, "because": why}
        return KLEstimate(found.value, found.surrogate, found.lower, found.upper, diagnostics)

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Log-density of the estimator that suits ``q``."""
        posterior = as_distribution(q)
        if isinstance(posterior, SharedNoise):
            return ChangeOfVariables().log_density(posterior, draw)
        if isinstance(posterior, Dirac) or as_low_rank(posterior) is not None:
            return ClosedForm().log_density(posterior, draw)
        if isinstance(posterior, SemiImplicit):
            return LIVI().log_density(posterior, draw)
        return MonteCarlo().log_density(posterior, draw)
