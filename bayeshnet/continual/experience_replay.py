"""Learners that go back to old examples: some of them (experience replay), or all (joint training)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..builders.base import PosteriorFamily
from ..builders.networks import NetworkBuilder
from ..errors import check_int
from ..functional import batched_forward
from ..guides import BayesianModel
from ..inference import AddedLoss, Term
from ..tasks import Task
from .heads import Heads
from .memory import ExampleMemory
from .shared_learner import SharedLearner
from .state import LearnerState

__all__ = ["ExperienceReplay", "Joint"]


class ExperienceReplay(SharedLearner):
    r"""One posterior for all tasks, which sees stored examples of old tasks along with those of the new one.

    Each step adds the mean negative log-likelihood of stored examples, times the number of old tasks, so that each task
    counts alike where as many examples are stored of each.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: a builder of the posterior.
        heads: how tasks share out the outputs.
        memory_size: examples kept of each task; None keeps all.
        replay_size: stored examples per step.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.

    References:
        Chaudhry et al., "On tiny episodic memories in continual learning", 2019.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorFamily,
        *,
        heads: Heads | None = None,
        memory_size: int | None = 50,
        replay_size: int = 32,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, heads=heads, **settings)
        self.memory_size = None if memory_size is None else check_int("memory_size", memory_size, 1)
        self.replay_size = check_int("replay_size", replay_size, 1)

    def begin(self, task: Task) -> LearnerState:
        """A state with an empty memory."""
        state = super().begin(task)
        state.memory = ExampleMemory()
        return state

    def remember(self, state: LearnerState, task: Task, generator: torch.Generator) -> None:
        """Store examples of the task."""
        if isinstance(state.memory, ExampleMemory):
            state.memory.store(task.train.x, task.train.y, self.memory_size, generator)

    def terms(
        self, state: LearnerState, previous: LearnerState | None, model: BayesianModel, generator: torch.Generator
    ) -> list[AddedLoss | Term]:
        """The likelihood of stored examples besides those of any classifier."""
        terms = super().terms(state, previous, model, generator)
        if previous is None or not isinstance(previous.memory, ExampleMemory):
            return terms
        weight = self.weight(previous.memory, check_int("num_data", model.num_data, 1))
        return [*terms, self._rehearsal(state, previous.memory, weight, generator)]

    def weight(self, memory: ExampleMemory, num_data: int) -> float:
        """What the mean over stored examples counts beside the mean over the ``num_data`` of the new task."""
        return memory.num_tasks

    def _rehearsal(self, state: LearnerState, memory: ExampleMemory, weight: float, generator: torch.Generator) -> Term:
        size, count = self.size(state), memory.num_tasks
        ranges = [self.heads.competing(t, state.posterior.num_tasks, size) for t in range(count)]
        offsets = [self.heads.offset(t, size) for t in range(count)]

        def term(weights: Tensor, x: Tensor, y: Tensor, step: int) -> Tensor:
            old_x, old_y, task = memory.draw(self.replay_size, generator)
            outputs, nll = batched_forward(state.net, weights, old_x), []
            sizes = torch.bincount(task, minlength=count).tolist()
            parts = zip(outputs.split(sizes, dim=1), old_y.split(sizes), ranges, offsets, strict=True)
            for made, targets, (start, stop), offset in parts:
                if len(targets):
                    nll.append(-state.likelihood.log_prob(made[..., start:stop], targets + offset).mean(0).sum())
            return torch.stack(nll).sum() * (weight / len(old_x))

        return term


class Joint(ExperienceReplay):
    """Joint (multitask) training: the data of all tasks so far are kept. What learning in sequence is measured by.

    The loss is that of all these data together, over the number of examples of the new task.

    Args:
        network: see :class:`~bayeshnet.continual.SharedLearner`.
        posterior: a builder of the posterior.
        heads: how tasks share out the outputs.
        replay_size: examples of old tasks per step.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorFamily,
        *,
        heads: Heads | None = None,
        replay_size: int = 32,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, heads=heads, memory_size=None, replay_size=replay_size, **settings)

    def weight(self, memory: ExampleMemory, num_data: int) -> float:
        """As often as there are more old examples than new ones, so that each example counts alike."""
        return memory.num_examples / num_data
