"""Prior-focused learning: the posterior of the tasks before is the prior of the next one."""

from __future__ import annotations

import copy

from torch.distributions import Distribution

from ..tasks import Task
from .shared_learner import SharedLearner
from .state import LearnerState

__all__ = ["PriorFocused"]


class PriorFocused(SharedLearner):
    r"""Variational continual learning: one posterior for all tasks, whose prior is what it was before the task.

    .. math:: q_t = \arg\min_q\; -\mathbb{E}_q \log p(\mathcal{D}_t | w) + \beta\, \mathrm{KL}(q \,\|\, q_{t-1})

    which is exact Bayesian inference of all data where the family contains the exact posteriors. With independent
    Gaussian weights (:class:`~bayeshnet.continual.MeanFieldWeights`) it is VCL; with a hypernetwork posterior the old
    posterior is an implicit prior, whose log-density is estimated by importance sampling at each draw.

    Outputs that come with a task follow the prior :math:`N(0, I)` of whitened weights.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: a builder of the posterior.
        heads: how tasks share out the outputs.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    References:
        Nguyen, Li, Bui, Turner, "Variational continual learning", 2018.
    """

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """The posterior before this task."""
        if previous is None:
            return super().prior(state, previous, task)
        frozen = copy.deepcopy(previous)
        frozen.requires_grad_(False)
        return self.before(state, frozen, task)
