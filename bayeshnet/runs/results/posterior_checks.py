"""Checks of the posteriors at the end of a run: their KL from the prior, and how far they moved after their task."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...continual import Learner, LearnerState
from ...estimators import diagnose
from ...metrics import median_distance, mmd
from ...reports import InformationRecord, KLRecord
from ...rng import derive_seed
from ...tasks import TaskStream
from ..folder import RunFolder

__all__ = ["check_posterior", "posterior_drift"]

_MIN_STD = 0.1


def check_posterior(q: Distribution, p: Distribution, num_samples: int = 1024, seed: int = 0) -> KLRecord:
    """Audit the KL of ``q`` from ``p`` by :func:`~bayeshnet.estimators.diagnose`, in nats.

    Where the KL has a closed form, value and both ends of the interval coincide; where there is no KL (a point), all
    are None.
    """
    generator = torch.Generator(device=q.sample().device).manual_seed(seed)
    report = diagnose(q, p, num_samples, generator)
    if not report.information:
        return KLRecord(report.value, report.lower, report.upper, report.value, verdict=report.verdict)
    info, analytic = report.information, report.measurements["analytic"]
    record = InformationRecord(info["livi"], info["sandwich_lower"], info["sandwich_upper"], report.measurements["ess"])
    return KLRecord(report.value, report.lower, report.upper, analytic, record, report.verdict)


@torch.no_grad()
def posterior_drift(
    learner: Learner, state: LearnerState, stream: TaskStream, folder: RunFolder, seed: int, num_samples: int = 64
) -> list[float]:
    """Compute the squared MMD between weights drawn from each task's posterior just after learning it and at the end.

    Weights are whitened by the prior, and the estimate is unbiased: around 0, and possibly a little below, for a
    posterior that has not moved; at most 2. The kernel is Gaussian. Its width is the median distance of the earlier
    draws, but at least that of draws with a standard deviation of 0.1 per weight, so that the drift of point estimates
    is measured too. Weights that the network did not have yet are left out.

    Args:
        learner: builds the states into which the checkpoints of the run are loaded.
        state: after the last task.
        stream: the tasks.
        folder: with a checkpoint after each task.
        seed: of the draws.
        num_samples: number of draws from each posterior.

    Returns:
        One number per task, 0 for the last.
    """
    drift = []
    for t in range(state.num_tasks - 1):
        earlier = learner.restore(stream[0], t + 1)
        folder.load_task(t + 1, earlier)
        earlier.to(stream[0].train.x)
        old = _whitened_draws(earlier, stream, t, derive_seed(seed, t, 0), num_samples)
        new = _whitened_draws(state, stream, t, derive_seed(seed, t, 1), num_samples)
        if old.shape != new.shape:
            new = new[:, earlier.net.weight_spec.places_in(state.net.weight_spec).to(new.device)]
        width = median_distance(*old.chunk(2)).clamp_min(_MIN_STD * math.sqrt(2 * old.shape[1]))
        drift.append(float(mmd(old, new, width)))
    return [*drift, 0.0]


def _whitened_draws(state: LearnerState, stream: TaskStream, number: int, seed: int, num_samples: int) -> Tensor:
    prior = state.posterior.prior(stream[0].train.x)
    generator = torch.Generator(device=prior.loc.device).manual_seed(seed)
    return (state.posterior(number).draw(num_samples, generator).w - prior.loc) / prior.stddev
