"""KL by formula, for the pairs that have one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from ..distributions.base import WeightDraw
from ..distributions.dirac import Dirac
from ..distributions.kl import any_gaussian_kl, radial_kl
from ..distributions.radial import Radial
from ..distributions.semi_implicit import SemiImplicit
from ..errors import value_error
from .analytic import log_prob_of
from .base import DensityEstimator, KLEstimate

__all__ = ["ClosedForm", "has_closed_form"]


class ClosedForm(DensityEstimator):
    r"""The exact KL: Gaussians of any structure, radial to Gaussian, linear hypernetworks, pairs registered with torch.

    Nothing is drawn: ``num_samples`` and ``generator`` are ignored. A :class:`~bayeshnet.distributions.Dirac` has no
    KL: its estimate has no value, and the gradient of ``-log p(loc)``, maximum a-posteriori learning.

    Example:
        >>> from bayeshnet.distributions import MeanFieldGaussian
        >>> q, p = (MeanFieldGaussian(torch.full((4,), loc), torch.ones(4)) for loc in (0.0, 1.0))
        >>> ClosedForm().estimate(q, p).value
        tensor(2.)
    """

    min_samples = None
    density_per_draw = False

    def _estimate(
        self, q: Distribution, p: Distribution, num_samples: int | None, generator: torch.Generator | None
    ) -> KLEstimate:
        if isinstance(q, Dirac):
            surrogate = -log_prob_of(p, q.loc.unsqueeze(0), generator).squeeze(0)
            return KLEstimate(None, surrogate, diagnostics={"why_no_value": "a point mass has no density"})
        kl = _formula(q, p)
        if kl is None:
            raise value_error(
                "q, p",
                expected="a pair with a closed form",
                found=f"{type(q).__name__} and {type(p).__name__}",
                hint="Use MonteCarlo where q has a density, LIVI for a hypernetwork posterior, or Auto.",
            )
        return KLEstimate(kl.detach(), kl)

    def _log_density(self, q: Distribution, draw: WeightDraw) -> Tensor:
        """Evaluate the density, with the gradient of the entropy (which has no variance) where it is known."""
        if isinstance(q, Dirac):
            return torch.zeros_like(draw.w[:, 0])
        if isinstance(q, SemiImplicit):
            if not q.geometry.is_affine:
                raise value_error(
                    "q",
                    expected="a distribution with a density",
                    found="a hypernetwork posterior that is not linear",
                    hint="Use LIVI or ImportanceSandwich.",
                )
            q = q.to_gaussian()
        log_density = q.log_prob(draw.w)
        try:
            negative_entropy = -q.entropy()
        except NotImplementedError:
            return log_density
        return log_density.detach() + (negative_entropy - negative_entropy.detach())


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Return whether :class:`ClosedForm` has a formula for the pair."""
    if isinstance(q, Dirac):
        return True
    with torch.no_grad():
        return _formula(q, p) is not None


def _formula(q: Distribution, p: Distribution) -> Tensor | None:
    """Return the KL, or None where no formula is known."""
    kl = radial_kl(q, p) if isinstance(q, Radial) else any_gaussian_kl(q, p)
    if kl is not None:
        return kl
    try:
        return kl_divergence(q, p)
    except (NotImplementedError, ValueError):
        return None
