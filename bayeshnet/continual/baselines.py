"""Reference learners: independent posteriors for all tasks, and training in sequence without protection."""

from __future__ import annotations

from torch.distributions import Distribution

from ..tasks import Task
from ..weights import WeightSpec
from .per_task_learner import PerTaskLearner
from .shared_learner import SharedLearner
from .state import LearnerState
from .task_posterior import OnePerTask, TaskPosterior

__all__ = ["FineTuning", "Separate"]


class Separate(PerTaskLearner):
    """An independent posterior for each task: no forgetting, no transfer, memory that grows with the tasks.

    Arguments are those of :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """Build a collection of posteriors, one per task."""
        return OnePerTask(self.posterior, spec)


class FineTuning(SharedLearner):
    """One posterior trained on each task in turn, without protection against forgetting: the lower baseline.

    Arguments are those of :class:`~bayeshnet.continual.SharedLearner`.
    """

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the same prior for every task."""
        return state.posterior.prior(task.train.x)
