"""The KL of a task's posterior with its two-sided audit."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import Distribution

from ..distributions import SemiImplicit
from ..estimators import ClosedForm, ImportanceSandwich

__all__ = ["certificate"]


@torch.no_grad()
def certificate(q: Distribution, p: Distribution, num_draws: int = 128, seed: int = 0) -> dict[str, Any]:
    """The KL in nats, with lower and upper estimates.

    For an implicit posterior the analytic part is averaged over ``num_draws`` draws, and the mutual information between
    weights and latent comes from LIVI (the value) and from the importance-sampling sandwich on the very same draws. A
    posterior with a closed form is its own certificate; one without a KL (a point) has None everywhere.

    Returns:
        ``value``, ``lower``, ``upper``, ``analytic``, and for implicit posteriors ``mutual_information`` with ``livi``,
        ``lower``, ``upper`` and ``ess``.
    """
    generator = torch.Generator(device=q.sample().device).manual_seed(seed)
    if not isinstance(q, SemiImplicit):
        value = ClosedForm().estimate(q, p).value
        number = None if value is None else float(value)
        return {"value": number, "lower": number, "upper": number, "analytic": number, "mutual_information": None}
    estimate = ImportanceSandwich(num_draws=num_draws).estimate(q, p, generator=generator)
    analytic, sides = float(estimate.diagnostics["analytic"]), estimate.diagnostics["information"]
    livi = float(sides.diagnostics["livi"].mean())
    low, high = sorted((float(sides.lower), float(sides.upper)))
    return {
        "value": analytic - livi,
        "lower": analytic - high,
        "upper": analytic - low,
        "analytic": analytic,
        "mutual_information": {"livi": livi, "lower": low, "upper": high, "ess": float(sides.diagnostics["ess"])},
    }
