"""The KL of a task's posterior with its two-sided audit."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..continual import Learner, LearnerState
from ..distributions import SemiImplicit
from ..estimators import ClosedForm, ImportanceSandwich
from ..metrics import median_distance, mmd
from ..rng import derive_seed
from ..tasks import TaskStream
from .folder import RunFolder

__all__ = ["certificate", "posterior_drift"]


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
    estimate = ImportanceSandwich(num_draws).estimate(q, p, generator=generator)
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


_SPREAD = 0.1


@torch.no_grad()
def posterior_drift(
    learner: Learner, state: LearnerState, stream: TaskStream, folder: RunFolder, seed: int, num_samples: int = 64
) -> list[float]:
    """Squared MMD between weights drawn from each task's posterior just after it was learnt and at the end.

    Weights are whitened by the prior, and the estimate is unbiased: around 0, and possibly a little below, for a
    posterior that has not moved; at most 2. The kernel is Gaussian with the median distance of the draws then as its
    width, but at least that of draws with a standard deviation of 0.1 per weight: so that points, whose draws have no
    distance, move by a measure too. Weights that the network did not have yet are left out.

    Args:
        learner: makes states to load the checkpoints of the run into.
        state: after the last task.
        stream: the tasks.
        folder: with a checkpoint after each task.
        seed: of the draws.
        num_samples: drawn from each posterior.

    Returns:
        One number per task, 0 for the last.
    """
    found = []
    for t in range(state.num_tasks - 1):
        then = learner.restore(stream[0], t + 1)
        folder.load_task(t + 1, then)
        then.to(stream[0].train.x)
        old = _whitened(then, stream, t, derive_seed(seed, t, 0), num_samples)
        new = _whitened(state, stream, t, derive_seed(seed, t, 1), num_samples)
        if old.shape != new.shape:
            new = new[:, then.net.weight_spec.places_in(state.net.weight_spec).to(new.device)]
        width = median_distance(*old.chunk(2)).clamp_min(_SPREAD * math.sqrt(2 * old.shape[1]))
        found.append(float(mmd(old, new, width)))
    return [*found, 0.0]


def _whitened(state: LearnerState, stream: TaskStream, number: int, seed: int, num_samples: int) -> Tensor:
    prior = state.posterior.prior(stream[0].train.x)
    generator = torch.Generator(device=prior.loc.device).manual_seed(seed)
    return (state.posterior(number).draw(num_samples, generator).w - prior.loc) / prior.stddev
