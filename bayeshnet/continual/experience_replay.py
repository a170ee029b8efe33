"""Learners that train on stored examples of old tasks: some of them (experience replay), or all (joint training)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.base import PosteriorBuilder
from ..builders.networks import NetworkBuilder
from ..errors import check_int
from ..functional import batched_forward
from ..guides import BayesianModel
from ..inference import AddedLoss, StepContext, Term
from ..mnets.inputs import join_inputs, split_inputs
from ..mnets.output_view import pieces_between, take_pieces
from ..mnets.running_statistics import holding
from ..rng import generator_on
from ..tasks import Task
from .heads import Heads
from .memory import ExampleMemory
from .shared_learner import SharedLearner
from .state import LearnerState

__all__ = ["ExperienceReplay", "Joint", "ReplayLearner"]


class ReplayLearner(SharedLearner):
    r"""One posterior for all tasks, trained on the new task and on stored examples of the old ones.

    Each step adds the mean negative log-likelihood of some stored examples, times :meth:`weight`.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: builder of the posterior.
        heads: assignment of the network's outputs to tasks.
        replay_size: stored examples per step.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    Attributes:
        memory_size: number of examples stored of each task; None for all.
    """

    memory_size: int | None = None

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorBuilder,
        *,
        heads: Heads | None = None,
        replay_size: int = 32,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, heads=heads, **settings)
        self.replay_size = check_int("replay_size", replay_size, 1)

    @abstractmethod
    def weight(self, memory: ExampleMemory, num_data: int) -> float:
        """Return the weight of the mean over stored examples, relative to that over the ``num_data`` new ones."""

    def new_memory(self, task: Task) -> nn.Module | None:
        """Build an empty memory of examples."""
        return ExampleMemory()

    def prior(self, state: LearnerState, previous: LearnerState | None, task: Task) -> Distribution:
        """Return the same prior for every task."""
        return state.posterior.prior(task.train.x)

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Store examples of the task."""
        if isinstance(state.memory, ExampleMemory):
            state.memory.store(task.train.x, task.train.y, self.memory_size, generator)

    def terms(
        self, state: LearnerState, previous: LearnerState | None, model: BayesianModel, generator: torch.Generator
    ) -> list[AddedLoss | Term]:
        """Return the negative log-likelihood of stored examples, and outlier exposure if it is set."""
        terms = super().terms(state, previous, model, generator)
        if previous is None or not isinstance(previous.memory, ExampleMemory):
            return terms
        weight = self.weight(previous.memory, check_int("num_data", model.num_data, 1))
        return [*terms, ReplayedExamples(self, state, previous.memory, weight, generator)]


class ReplayedExamples(AddedLoss):
    """Mean negative log-likelihood of stored examples of all tasks, times a weight.

    Args:
        learner: the learner, which knows outputs and labels of each task.
        state: the state that is being trained.
        memory: stored examples.
        weight: factor of the mean, in nats per example.
        generator: of the choice of examples.
    """

    def __init__(
        self,
        learner: ReplayLearner,
        state: LearnerState,
        memory: ExampleMemory,
        weight: float,
        generator: torch.Generator,
    ) -> None:
        self.state, self.memory, self.weight, self.size = state, memory, weight, learner.replay_size
        tasks = range(memory.num_tasks)
        self._pieces = [pieces_between(*whole, gaps) for whole, gaps in (learner.competing(state, t) for t in tasks)]
        self._offsets = [learner.offset(state, t) for t in tasks]
        self._chooser = generator_on("cpu", generator)
        self.generators = () if self._chooser is None else (self._chooser,)

    def __call__(self, context: StepContext) -> Tensor:
        """Compute the loss, a scalar in nats per example."""
        old = self.memory.draw_each(self.size, self._chooser)
        inputs, nll = join_inputs([x for x, _ in old]), []
        outputs = _outputs_by_task(self.state, context.weights, inputs, [len(targets) for _, targets in old])
        for made, (_, targets), own, offset in zip(outputs, old, self._pieces, self._offsets, strict=True):
            if len(targets):
                found = self.state.likelihood.log_prob(take_pieces(made, own), targets + offset)
                nll.append(-found.mean(0).sum())
        return torch.stack(nll).sum() * (self.weight / sum(len(targets) for _, targets in old))


def _outputs_by_task(state: LearnerState, weights: Tensor, x: Any, sizes: list[int]) -> Sequence[Tensor]:
    """Compute outputs ``(S, N_t, C)`` for examples of each task, under the task's own statistics if these are kept."""
    if state.statistics is None:
        outputs = state.likelihood.outputs(batched_forward(state.net, weights, x), sum(sizes))
        value: Sequence[Tensor] = outputs.split(sizes, dim=1)
        return value
    found = []
    for task_id, (part, size) in enumerate(zip(split_inputs(x, sizes), sizes, strict=True)):
        with state.statistics_of(task_id), holding(state.net):
            found.append(state.likelihood.outputs(batched_forward(state.net, weights, part), size))
    return found


class ExperienceReplay(ReplayLearner):
    r"""One posterior for all tasks, trained on the new task and on a few stored examples of each old one.

    Each step adds the mean negative log-likelihood of stored examples, times the number of old tasks: each task then
    has the same weight if the same number of examples is stored of each.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: builder of the posterior.
        heads: assignment of the network's outputs to tasks.
        memory_size: examples stored of each task; None for all.
        replay_size: stored examples per step.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    References:
        Chaudhry et al., "On tiny episodic memories in continual learning", 2019.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorBuilder,
        *,
        heads: Heads | None = None,
        memory_size: int | None = 50,
        replay_size: int = 32,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, heads=heads, replay_size=replay_size, **settings)
        self.memory_size = None if memory_size is None else check_int("memory_size", memory_size, 1)

    def weight(self, memory: ExampleMemory, num_data: int) -> float:
        """Return the number of old tasks."""
        return memory.num_tasks


class Joint(ReplayLearner):
    """Joint (multitask) training on the data of all tasks so far: the upper baseline for sequential learning.

    The loss is that of all these data together, divided by the number of examples of the new task.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: builder of the posterior.
        heads: assignment of the network's outputs to tasks.
        replay_size: examples of old tasks per step.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def weight(self, memory: ExampleMemory, num_data: int) -> float:
        """Return the ratio of old to new examples, so that each example has the same weight."""
        return memory.num_examples / num_data
