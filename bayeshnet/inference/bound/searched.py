"""The KL of the end of a run beside what a search for latents says of it: a bound that is none is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit
from ...estimators import KLEstimator
from ...estimators.intervals.excess import information_excess
from ...estimators.intervals.quasi_random import Mean
from ...guides import AutoHypernet, HypernetGuide
from ...guides.components import GeneratedMixture
from ...rng import seeded

__all__ = ["BoundCheck", "check_bound"]

_STEPS, _WINDOW = 100, 50
_CONFIDENCE, _SLACK = 0.998, 0.25
"""Two-sided confidence of the margin, and nats of information too much that are no alarm."""


@dataclass(frozen=True)
class BoundCheck:
    """The KL at the end of a run as training estimated it, and corrected; all numbers in nats.

    Attributes:
        kl: mean over the last 50 steps.
        excess: by how much the estimator finds more mutual information than a search for latents allows; the search
            bounds it from below in expectation, so that a negative number says nothing.
        error: standard error of ``excess``.
        margin: what ``excess`` may be above 0 by chance, once in a thousand times.
    """

    kl: float
    excess: float
    error: float
    margin: float

    @property
    def corrected_kl(self) -> float:
        """The KL with the excess added, where there is one: it is at least that, in expectation."""
        return self.kl + max(0.0, self.excess)

    @property
    def holds(self) -> bool:
        """False if the excess is above a quarter of a nat by more than the margin: the KL is too low."""
        return self.excess <= _SLACK + self.margin

    def alarm(self) -> str:
        """Return what is wrong where the KL is too low, and what to do."""
        return (
            f"the KL, {self.kl:.4g} nats, is too low by {self.excess:.2f} +- {self.error:.2f} nats, so that the bound "
            "is none: several latents give the same weights, or the map bends within the noise. As far as was searched "
            f"it is {self.corrected_kl:.4g} nats at least. Audit the guide (guide.audit); fit it again with more "
            "latents (num_samples=128), a larger sigma, a smaller lr, or estimator=ImportanceSandwich(num_starts=4)."
        )


def check_bound(
    guide: Any, estimator: KLEstimator | None, history: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
) -> BoundCheck | None:
    """Compare the KL of the last steps of a run with one whose latents are searched on up to 64 draws.

    The posterior is that of the parameters now. The state of torch's generators is not changed.

    Args:
        guide: the guide.
        estimator: of the KL; None for the guide's.
        history: of the run, see :class:`~bayeshnet.inference.FitResult`.
        arguments: condition of the guide, ``cond_id`` or ``cond_input``.

    Returns:
        None for a run of fewer than 100 steps, or a guide or an estimator of another kind; see
        :func:`~bayeshnet.estimators.intervals.excess.information_excess`.
    """
    if len(history["kl"]) < _STEPS or not isinstance(guide, HypernetGuide | AutoHypernet):
        return None
    estimator = guide.estimator if estimator is None else estimator
    condition = {name: (arguments or {}).get(name) for name in ("cond_id", "cond_input")}
    with seeded(0), torch.no_grad():
        q = guide.distribution(**condition) if isinstance(guide, HypernetGuide) else guide.distribution()
        found = _excess(q, estimator)
    kl = float(history["kl"][-_WINDOW:].double().mean())
    if found is None or math.isnan(kl):
        return None
    return BoundCheck(kl, found.value, found.error, found.half_width(_CONFIDENCE))


def _excess(q: Any, estimator: KLEstimator) -> Mean | None:
    """Return the excess of a posterior, or the mean of those of the components of a mixture."""
    if isinstance(q, SemiImplicit):
        return information_excess(q, estimator)
    if not isinstance(q, GeneratedMixture):
        return None
    parts = [information_excess(part, estimator) for part in q.components]
    known = [(float(w), part) for w, part in zip(q.log_weights.exp(), parts, strict=True) if part is not None]
    if not known:
        return None
    total = Mean(0.0, 0.0)
    for weight, mean in known:
        total = total + Mean(weight * mean.value, weight * mean.error, mean.dof)
    return total
