"""The negative evidence lower bound of each task's posterior, beside that of the prior that it began from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...continual import Learner, LearnerState
from ...continual.per_task_learner import PerTaskLearner
from ...distributions.base import draw_from
from ...guides import BayesianModel
from ...reports import KLRecord
from ...rng import derive_seed
from ...tasks import Task, TaskStream

__all__ = ["expected_nll", "negative_elbos"]

_MOST_EXAMPLES, _CHUNK = 2048, 8


def negative_elbos(
    learner: Learner,
    state: LearnerState,
    stream: TaskStream,
    kl: Sequence[KLRecord],
    seed: int = 0,
    num_samples: int = 64,
) -> list[dict[str, Any]]:
    r"""Estimate for each task :math:`E_q[-\log p(D | w)] + \mathrm{KL}(q \| p)`, at temperature 1 on its training set.

    That of the prior, whose KL is 0, is estimated with as many draws. A posterior whose bound is not below it is no
    better than not having trained. Of more than 2,048 examples as many are drawn at random.

    Args:
        learner: of the state.
        state: after the last task.
        stream: the tasks.
        kl: KL of each task's posterior from the prior.
        seed: of all draws.
        num_samples: weights drawn from each posterior, and from the prior.

    Returns:
        ``negative_elbo`` (None for points) and ``negative_elbo_prior`` of each task, in nats; nothing for learners with
        one posterior for all tasks, whose prior changes with the tasks.
    """
    if not isinstance(learner, PerTaskLearner):
        return [{} for _ in range(state.num_tasks)]
    prior = state.posterior.prior(stream[0].train.x)
    found = []
    for t in range(state.num_tasks):
        noise = derive_seed(seed, t)
        model = BayesianModel(
            learner.task_network(state, t), prior, state.likelihood, len(stream[t].train), chunk_size=_CHUNK
        )
        with state.statistics_of(t):
            of_prior = expected_nll(model, prior, stream[t], noise, num_samples)
            nll = expected_nll(model, state.posterior(t), stream[t], noise, num_samples)
        value = kl[t].value
        found.append(
            {"negative_elbo": None if value is None else nll + value, "negative_elbo_prior": of_prior},
        )
    return found


@torch.no_grad()
def expected_nll(model: BayesianModel, q: Distribution, task: Task, seed: int = 0, num_samples: int = 64) -> float:
    """Estimate the mean of the negative log-likelihood of a task's training set over weights from ``q``, in nats.

    Args:
        model: with the size of the training set.
        q: distribution of the weights.
        task: the task.
        seed: of the draws.
        num_samples: number of draws.
    """
    train = task.train
    generator = torch.Generator(device=train.y.device).manual_seed(seed)
    if len(train) > _MOST_EXAMPLES:
        train = train.select(torch.randperm(len(train), generator=generator, device=train.y.device)[:_MOST_EXAMPLES])
    x, y = train.load().x, train.y
    weights: Tensor = draw_from(q, num_samples, generator).w
    parts = [model.log_likelihood(w, x, y) for w in weights.split(_CHUNK)]
    return -float(torch.cat(parts).double().mean())
