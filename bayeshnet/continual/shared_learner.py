"""Learners with one network, and one posterior over its weights, for all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..builders.base import PosteriorBuilder
from ..builders.networks import NetworkBuilder
from ..errors import check_instance, type_error, value_error
from ..mnets import MainNetInterface, OutputView
from ..mnets.running_statistics import copy_statistics
from ..tasks import Task
from ..weights import WeightSpec
from .heads import Heads, SplitHeads
from .state import LearnerState
from .task_posterior import OneForAll, TaskPosterior
from .variational import VariationalLearner

__all__ = ["SharedLearner"]


class SharedLearner(VariationalLearner):
    """A learner with one posterior for all tasks, which each task continues to train.

    Subclasses write :meth:`prior`. It may protect the previous tasks; so may losses and a memory, see
    :class:`~bayeshnet.continual.VariationalLearner`.

    Args:
        network: builder of the main network, which can then get more outputs, or a network with a fixed number of them.
        posterior: builder of the posterior.
        heads: assignment of the network's outputs to tasks; None for :class:`~bayeshnet.continual.SplitHeads`.
        settings: see :class:`~bayeshnet.continual.VariationalLearner`.
    """

    def __init__(
        self,
        network: NetworkBuilder | nn.Module,
        posterior: PosteriorBuilder,
        *,
        heads: Heads | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(network, posterior, **settings)
        self.heads = SplitHeads() if heads is None else check_instance("heads", heads, Heads, "Heads, or None")

    def task_posterior(self, spec: WeightSpec) -> TaskPosterior:
        """Build one posterior for all tasks."""
        return OneForAll(self.posterior, spec)

    def extend(self, state: LearnerState) -> None:
        """Count the task, and give the network and the posterior the outputs that it needs."""
        if self.heads.joint and state.kind != "classification":
            raise value_error(
                "heads", expected="SplitHeads or SharedHead for tasks of values", got=type(self.heads).__name__
            )
        num_tasks = state.posterior.num_tasks
        net = self._network(state, num_tasks + 1)
        if num_tasks == 0:
            like = next(state.posterior.parameters())
            state.net, state.posterior = net, self.task_posterior(net.weight_spec).to(like)
        elif isinstance(state.posterior, OneForAll) and net.weight_spec != state.net.weight_spec:
            copy_statistics(state.net, net)
            state.net = net
            state.posterior.widen(net.weight_spec)
        state.posterior.grow()

    def task_network(self, state: LearnerState, task_id: int) -> MainNetInterface:
        """Return a view of the task's own outputs."""
        return OutputView(state.net, *self._own(state, task_id))

    def training_problem(self, state: LearnerState, task: Task, task_id: int) -> tuple[MainNetInterface, Tensor]:
        """Return a view of the outputs that compete in training, and the targets among them."""
        (start, stop), gaps = self.competing(state, task_id)
        offset = self.offset(state, task_id)
        return OutputView(state.net, start, stop, gaps=gaps), task.train.y + offset if offset else task.train.y

    def task_log_prob(self, state: LearnerState, x: Tensor, tasks: Sequence[int], seed: int) -> Tensor | None:
        """Return the log of the summed probabilities of each task's classes, if all classes share one softmax."""
        if not self.heads.joint:
            return None
        (start, stop), gaps = self.competing(state, 0)
        net = OutputView(state.net, start, stop, gaps=gaps) if gaps else state.net
        probs = self.predict_with(state, net, 0, x, seed).mean
        # Each task is assumed with statistics of its own; without any, one pass serves all tasks.
        own = {t: self.predict_with(state, net, t, x, seed).mean for t in tasks if state.statistics is not None}
        first = [self.offset(state, t) for t in tasks]
        each = [own.get(t, probs)[:, a : a + state.outputs_of(t)].sum(-1) for a, t in zip(first, tasks, strict=True)]
        mass = torch.stack(each, dim=-1)
        tiny = torch.finfo(mass.dtype).tiny  # batches of inputs add up their log-probabilities: these must be finite
        return mass.clamp_min(tiny).log()

    def competing(self, state: LearnerState, task_id: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
        """Return the range of the outputs that compete in training of a task, and the unused ones in it, as ranges.

        A task of fewer classes than the widest one leaves the last outputs of its block unused.
        """
        if not self.heads.joint:
            return self._own(state, task_id), []
        count = state.posterior.num_tasks
        whole = self.heads.competing(task_id, count, self.outputs_per_task(state))
        return whole, self._unused(state, count)

    def offset(self, state: LearnerState, task_id: int) -> int:
        """Return the number of the task's first class among the outputs that compete in its training."""
        if not self.heads.joint:
            return 0
        before = sum(stop - start for start, stop in self._unused(state, task_id))
        return self.heads.offset(task_id, self.outputs_per_task(state)) - before

    def _own(self, state: LearnerState, task_id: int) -> tuple[int, int]:
        """Return the range of the outputs of a task."""
        start, _ = self.heads.block(task_id, self.outputs_per_task(state))
        return start, start + state.outputs_of(task_id)

    def _unused(self, state: LearnerState, num_tasks: int) -> list[tuple[int, int]]:
        """Return the ranges of the outputs that the first tasks leave unused."""
        size = self.outputs_per_task(state)
        ends = [(self._own(state, t)[1], self.heads.block(t, size)[1]) for t in range(num_tasks)]
        return [(start, stop) for start, stop in ends if start < stop]

    def outputs_per_task(self, state: LearnerState) -> int:
        """Return the number of outputs of the widest task."""
        return state.likelihood.num_outputs(state.num_outputs)

    def _network(self, state: LearnerState, num_tasks: int) -> MainNetInterface:
        """Build a network with the outputs for ``num_tasks`` tasks; a given network must have them already."""
        size = self.outputs_per_task(state)
        width = self.heads.width(num_tasks, size)
        if isinstance(self.network, NetworkBuilder):
            return self.build_network(state.input_shape, width, state.layout)
        if width != self.heads.width(1, size):
            raise type_error(
                "network",
                expected="a NetworkBuilder, which can build the network with more outputs",
                got=self.network,
                hint="Or share the outputs: heads=SharedHead() or FixedSoftmax(num_tasks).",
            )
        return state.net
