"""How far the posterior of each task has moved since the task was learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..continual import Learner, LearnerState, derive_seed
from ..metrics import median_distance, mmd
from ..tasks import TaskStream
from .folder import RunFolder

__all__ = ["posterior_drift"]

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
