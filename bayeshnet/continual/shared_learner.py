"""What learners have in common that keep one network, and one posterior over its weights, for all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..builders.base import PosteriorFamily
from ..builders.networks import NetworkBuilder
from ..distributions import embed
from ..errors import type_error, value_error
from ..mnets import MainNetInterface, OutputView
from ..tasks import Task
from ..weights import WeightSpec
from .heads import Heads, SplitHeads
from .state import LearnerState
from .task_inference.prediction import StreamPrediction
from .task_posterior import OneForAll, TaskPosterior
from .variational import VariationalLearner

__all__ = ["SharedLearner"]


class SharedLearner(VariationalLearner):
    """One posterior over the weights of one network, which goes on from task to task; subclasses say what holds it.

    Args:
        network: a builder of the main network, so that it can get more outputs, or a network of a fixed number of them.
        posterior: a builder of the posterior.
        heads: how tasks share out the outputs; :class:`~bayeshnet.continual.SplitHeads` when None.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorFamily,
        *,
        heads: Heads | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, **settings)
        self.heads = SplitHeads() if heads is None else heads

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """One posterior for all tasks."""
        return OneForAll(self.posterior, spec)

    def begin(self, task: Task) -> LearnerState:
        """A state whose network has the outputs of the first task."""
        state = super().begin(task)
        if self.heads.joint and task.kind != "classification":
            raise value_error(
                "heads", expected="SplitHeads or SharedHead for tasks of values", got=type(self.heads).__name__
            )
        state.net = self._network(state, 1)
        state.posterior = self.task_posterior(state.net.weight_spec)
        return state

    def extend(self, state: LearnerState) -> None:
        """Count the task, and give the network the outputs that it needs for it."""
        state.posterior.grow()
        net = self._network(state, state.posterior.num_tasks)
        if isinstance(state.posterior, OneForAll) and net.weight_spec != state.net.weight_spec:
            state.net = net
            state.posterior.widen(net.weight_spec)

    def view(self, state: LearnerState, number: int) -> MainNetInterface:
        """The task's own outputs."""
        return OutputView(state.net, *self.heads.block(number, self.size(state)))

    def problem(self, state: LearnerState, task: Task, number: int) -> tuple[MainNetInterface, Tensor]:
        """The outputs that compete in training, and the targets among them."""
        size = self.size(state)
        net = OutputView(state.net, *self.heads.competing(number, state.posterior.num_tasks, size))
        offset = self.heads.offset(number, size)
        return net, task.train.y + offset if offset else task.train.y

    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predictions of each task, and the probability of each where the classes of all compete in one softmax."""
        prediction = super().predict_each(state, x, tasks, seed=seed)
        if not self.heads.joint:
            return prediction
        size = self.size(state)
        probs = self.predict_with(state, state.net, 0, x, seed).mean
        numbers = range(state.num_tasks) if tasks is None else tasks
        mass = torch.stack([probs[:, slice(*self.heads.block(t, size))].sum(-1) for t in numbers], dim=-1)
        tiny = torch.finfo(mass.dtype).tiny  # log-probabilities of several inputs are added up, and must stay finite
        return replace(prediction, task_log_prob=mass.clamp_min(tiny).log())

    def before(self, state: LearnerState, previous: LearnerState, task: Task) -> Distribution:
        """The posterior of the tasks before, over the weights as they are now; new outputs follow the prior."""
        old = previous.posterior(0)
        if previous.net.weight_spec == state.net.weight_spec:
            return old
        places = previous.net.weight_spec.places_in(state.net.weight_spec)
        return embed(old, places, state.posterior.prior(task.train.x))

    def size(self, state: LearnerState) -> int:
        """Outputs of one task."""
        return state.likelihood.num_outputs(state.num_outputs)

    def _network(self, state: LearnerState, num_tasks: int) -> MainNetInterface:
        width = self.heads.width(num_tasks, self.size(state))
        if isinstance(self.network, NetworkBuilder):
            return self.build_network(state.input_shape, width)
        if width != self.heads.width(1, self.size(state)):
            raise type_error(
                "network",
                expected="a NetworkBuilder, which can build the network with more outputs",
                got=self.network,
                hint="Or share the outputs: heads=SharedHead() or FixedSoftmax(num_tasks).",
            )
        return state.net
