"""Reference points: nothing is shared between tasks, or everything is and nothing keeps the old ones."""

from __future__ import annotations

from ..weights import WeightSpec
from .shared_learner import SharedLearner
from .task_posterior import OnePerTask, TaskPosterior
from .variational import VariationalLearner

__all__ = ["FineTuning", "Separate"]


class Separate(VariationalLearner):
    """A posterior of its own for each task: cannot forget, grows with the tasks, transfers nothing.

    Arguments are those of :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """One posterior per task."""
        return OnePerTask(self.posterior, spec)


class FineTuning(SharedLearner):
    """One posterior that goes on from task to task with nothing to hold it: the measure of forgetting.

    Arguments are those of :class:`~bayeshnet.continual.SharedLearner`.
    """
