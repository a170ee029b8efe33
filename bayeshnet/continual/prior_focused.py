"""Prior-focused learning: the posterior after the previous tasks is the prior of the next task."""

from __future__ import annotations

import copy

from torch.distributions import Distribution

from ..distributions import embed
from ..tasks import Task
from .shared_learner import SharedLearner
from .state import LearnerState

__all__ = ["PriorFocused"]


class PriorFocused(SharedLearner):
    r"""Variational continual learning: one posterior, whose prior is the posterior after the previous tasks.

    .. math:: q_t = \arg\min_q\; -\mathbb{E}_q \log p(\mathcal{D}_t | w) + \beta\, \mathrm{KL}(q \,\|\, q_{t-1})

    This is exact Bayesian inference given all data if the family contains the exact posteriors. With independent
    Gaussian weights (:class:`~bayeshnet.builders.MeanFieldWeights`) it is VCL; with a hypernetwork posterior the
    previous posterior is an implicit prior, whose log-density is estimated by importance sampling at each draw.

    Outputs that are added for a task have the prior :math:`N(0, I)` of whitened weights.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: builder of the posterior.
        heads: assignment of the network's outputs to tasks.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    References:
        Nguyen, Li, Bui, Turner, "Variational continual learning", 2018.
    """

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the posterior before this task, extended to the weights of new outputs."""
        prior = state.posterior.prior(task.train.x)
        if previous is None:
            return prior
        frozen = copy.deepcopy(previous)
        frozen.requires_grad_(False)
        old, new = previous.net.weight_spec, state.net.weight_spec
        posterior = frozen.posterior(0)
        return posterior if old == new else embed(posterior, old.places_in(new), prior)
