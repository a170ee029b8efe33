"""The one contract of all KL estimators, and the record that they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions.base import WeightDraw

__all__ = ["KLEstimate", "KLEstimator", "MutualInformation", "as_distribution"]


@dataclass(frozen=True)
class KLEstimate:
    r"""An estimate of :math:`\mathrm{KL}(q \| p)` in nats.

    Attributes:
        value: the estimate (no gradient), or None when the method has none.
        surrogate: scalar whose gradient is the method's gradient of the KL; its value has no meaning of its own.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        diagnostics: what the method can say of itself, some of it worked out when looked at; where KL splits, the keys
            ``analytic``, ``mutual_information`` (``value = analytic - mutual_information``) and ``standard_error`` are
            used by all.
    """

    value: Tensor | None
    surrogate: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)


class KLEstimator(ABC):
    """Estimates how far a weight distribution is from a prior, value and gradient."""

    @abstractmethod
    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate ``KL(q || p)`` from ``num_samples`` draws; a posterior module is called without a condition."""

    def estimate_at(
        self,
        q: Distribution,
        p: Distribution | nn.Module,
        draw: WeightDraw,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate | None:
        """As :meth:`estimate`, from weights drawn already; None unless it works on draws and these are enough."""
        return None

    @property
    def uses_draws(self) -> bool:
        """True if :meth:`estimate_at` can use weights that have been drawn already."""
        return type(self).estimate_at is not KLEstimator.estimate_at

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Log-density of ``q`` at its own draws, ``(S,)``, whose gradient gives that of the KL; refused if unknown."""
        raise ValueError(
            f"estimator: expected one with a log-density per draw, got {type(self).__name__}. "
            "Use it through ImplicitELBO, or take LIVI, ImportanceSandwich, MonteCarlo or ClosedForm."
        )


def as_distribution(q: Distribution | nn.Module, argument: str = "q") -> Distribution:
    """Return ``q`` itself, or the distribution that a posterior module gives without a condition."""
    dist = q() if isinstance(q, nn.Module) else q
    if not isinstance(dist, Distribution) or len(dist.event_shape) != 1 or len(dist.batch_shape) != 0:
        raise TypeError(
            f"{argument}: expected a distribution of event shape (P,) without a batch shape, or a module that returns "
            f"one, got {dist!r}."
        )
    return dist


@dataclass(frozen=True)
class MutualInformation:
    """An estimate of ``I(w; z)`` in nats on given draws.

    Attributes:
        value: the estimate, ``()``.
        per_draw: what it is the mean of, ``(S,)``.
        standard_error: of the mean over draws, or None for a single draw.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        diagnostics: what the method can say of itself.
    """

    value: Tensor
    per_draw: Tensor
    standard_error: Tensor | None
    lower: Tensor | None = None
    upper: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
