"""The sample site of a guide: draws that keep their noise, and a log-density at these draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.ops.provenance import ProvenanceTensor, track_provenance
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence, register_kl

from ..deprecation import renamed_arguments
from ..distributions.base import WeightDraw, draw_from, has_log_prob
from ..distributions.dirac import Dirac
from ..distributions.flat import Flat
from ..distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ..estimators import DensityEstimator, KLEstimator
from ._calling_loss import weighting_caller
from .sites import unwrapped

__all__ = ["ImplicitSite", "has_density_per_draw", "has_exact_density"]


class ImplicitSite(TorchDistribution):
    r"""A weight distribution as a Pyro site whose density comes from an estimator.

    Expanded by a plate, it draws anew for each particle. ``log_prob`` of a value that this object drew is computed from
    the noise of the draw; its value and gradient are those of :math:`\log q` in expectation. At any other value only
    distributions with an exact density have a ``log_prob``.

    Args:
        base: the weight distribution.
        estimator: gives the density of draws.
        batch_shape: of the site, as plates ask for it.
        num_samples: latents of the estimator, whatever the number of draws: ``log_prob`` of own draws is then the
            estimate of :math:`E_q \log q` for each of them. None for ``estimator.log_density`` at the draws themselves.
        depends_on: names of the parameters, for Pyro's drawings of programs.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    @renamed_arguments(num_latents="num_samples")
    def __init__(
        self,
        base: Distribution,
        estimator: KLEstimator,
        batch_shape: torch.Size | tuple[int, ...] = torch.Size(),
        num_samples: int | None = None,
        *,
        depends_on: frozenset[str] = frozenset(),
    ) -> None:
        self.depends_on = depends_on
        self.base = base
        self.estimator = estimator
        self.num_samples = num_samples
        self._drawn: tuple[Tensor, WeightDraw] | None = None
        super().__init__(torch.Size(batch_shape), base.event_shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ImplicitSite:
        """Return the same distribution with another batch shape, whose entries are drawn independently."""
        shape = torch.Size(batch_shape)
        return ImplicitSite(self.base, self.estimator, shape, self.num_samples, depends_on=self.depends_on)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draw reparameterized weights ``(*sample_shape, *batch_shape, P)`` and keep their noise."""
        shape = torch.Size(sample_shape) + self.batch_shape
        draw = draw_from(self.base, shape.numel())
        weights = draw.w.reshape(shape + self.event_shape)
        self._drawn = (weights, draw)
        return weights

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density in nats of the last draws, of their batch shape; see the class for other values."""
        if isinstance(value, ProvenanceTensor):  # Pyro draws the program, and asks only what the density depends on
            found: Tensor = track_provenance(value.new_zeros(value.shape[:-1]), self.depends_on)
            return found
        draw = self._drawn[1] if self._drawn is not None and value is self._drawn[0] else None
        weighting = None if draw is None else weighting_caller()
        if has_exact_density(self.base) and (draw is None or weighting is not None):
            return self.base.log_prob(value)
        if draw is None:
            raise ValueError(
                "value: expected weights that this site drew itself, with their gradient, got others. The density of "
                f"{type(self.base).__name__} is known at its own draws only: use Trace_ELBO, TraceGraph_ELBO or "
                "ImplicitELBO, or a guide with an exact density such as MeanFieldGuide or LowRankGuide."
            )
        if weighting is not None and not has_density_per_draw(self.estimator):
            raise ValueError(
                f"loss: expected one that averages over particles, got {weighting}, which weights each one "
                f"by its own density. {type(self.estimator).__name__} is right on average over draws only: use "
                "Trace_ELBO or ImplicitELBO, or the estimator ImportanceSandwich(control_variate=False)."
            )
        if self.num_samples is None or weighting is not None:
            return self.estimator.log_density(self.base, draw).reshape(value.shape[:-1])
        return self._negative_entropy().expand(value.shape[:-1])

    def _negative_entropy(self) -> Tensor:
        """Estimate the mean log-density; zero with the right gradient where the estimator has no value."""
        estimate = self.estimator.estimate(self.base, Flat(self.event_shape[0]), num_samples=self.num_samples)
        gradient = estimate.surrogate - estimate.surrogate.detach()
        return gradient if estimate.value is None else estimate.value + gradient


@register_kl(ImplicitSite, Distribution)  # type: ignore[untyped-decorator]
def _kl_implicit(q: ImplicitSite, p: Distribution) -> Tensor:
    """Return the closed form, or raise if there is none: a loss that asks for it would not use the estimator."""
    if not has_exact_density(q.base):
        raise ValueError(
            "loss: expected one that evaluates the guide's log-density, got one that asks for a closed-form KL "
            f"(TraceMeanField_ELBO), which {type(q.base).__name__} does not have. Use Trace_ELBO, or ImplicitELBO, "
            "which takes the analytic part of the KL and estimates the rest."
        )
    return kl_divergence(q.base, unwrapped(p)).expand(q.batch_shape)


def has_exact_density(distribution: Distribution) -> bool:
    """Return whether ``log_prob`` is known at any weights: not for nonlinear hypernetworks and point masses."""
    if isinstance(distribution, SemiImplicit):
        return distribution.geometry.is_affine
    return has_log_prob(distribution) and not isinstance(distribution, (GeneratedWeights, Dirac))


def has_density_per_draw(estimator: KLEstimator) -> bool:
    """Return whether ``log_density`` and its gradient are those of each draw, not only on average over draws."""
    return isinstance(estimator, DensityEstimator) and estimator.density_per_draw
