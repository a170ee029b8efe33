"""Learners with a posterior for each task."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from ..mnets import MainNetInterface, OutputView
from ..tasks import Task
from .state import LearnerState
from .variational import VariationalLearner

__all__ = ["PerTaskLearner"]


class PerTaskLearner(VariationalLearner):
    """A learner with a posterior for each task, over the weights of a network with the outputs of one task.

    Subclasses write :meth:`task_posterior`, which determines what the posteriors share.

    Arguments are those of :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def extend(self, state: LearnerState) -> None:
        """Add a posterior for one more task."""
        state.posterior.grow()

    def task_network(self, state: LearnerState, task_id: int) -> MainNetInterface:
        """Return the network, or a view of its first outputs for a task of fewer classes than the widest one."""
        size, width = state.outputs_of(task_id), state.likelihood.num_outputs(state.num_outputs)
        return state.net if size == width else OutputView(state.net, 0, size)

    def training_problem(self, state: LearnerState, task: Task, task_id: int) -> tuple[MainNetInterface, Tensor]:
        """Return the network of the task and its targets."""
        return self.task_network(state, task_id), task.train.y

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the same prior for every task: standard normal in the units of the whitened weights."""
        return state.posterior.prior(task.train.x)

    def task_log_prob(self, state: LearnerState, x: Tensor, tasks: Sequence[int], seed: int) -> Tensor | None:
        """Return None: the outputs of different tasks do not compete in one softmax."""
        return None
