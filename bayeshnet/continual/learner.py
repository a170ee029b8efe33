"""The contract of continual learners: learn a task, predict with or without being told the task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import check_int, value_error
from ..inference import Callback, Prediction
from ..tasks import Task
from .state import LearnerState
from .task_inference.prediction import StreamPrediction

__all__ = ["Learner"]


class Learner(ABC):
    """Learns tasks one after another: ``state = learner.learn(state, task)``, starting from ``state = None``.

    A learner holds settings only; all that is learnt is in the state. Learning does not change the state it is given:
    the returned one is new, so that the old one can be compared with it.
    """

    @abstractmethod
    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """A state of the structure for ``num_tasks`` tasks shaped like ``task``, whose tensors are to be loaded."""

    @abstractmethod
    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task.

        Args:
            state: what was learnt before; None for the first task.
            task: of the same kind and shapes as those before.
            seed: of everything random in it; the same seed gives the same state.
            callbacks: told about each step, for progress.
        """

    def finish(self, state: LearnerState, *, seed: int = 0) -> LearnerState:
        """What is left to do when all tasks are learnt; returns a new state, or the same if there is nothing."""
        return state

    @abstractmethod
    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predictions for ``x`` ``(N, *input_shape)`` as if it belonged to each of ``tasks`` (or all) in turn."""

    def predict(
        self, state: LearnerState, x: Tensor, task_id: int | None = None, *, seed: int = 0
    ) -> Prediction | StreamPrediction:
        """Predict for inputs ``x`` ``(N, *input_shape)``.

        Returns:
            With ``task_id``, the :class:`~bayeshnet.inference.Prediction` of that task; without, a
            :class:`StreamPrediction`, which holds the prediction of every task and the posterior over tasks.
        """
        check_inputs(state, x)
        if task_id is None:
            return self.predict_each(state, x, seed=seed)
        number = check_int("task_id", task_id, 0)
        if number >= state.num_tasks:
            raise value_error("task_id", expected=f"a number below the {state.num_tasks} tasks learnt", got=task_id)
        return self.predict_each(state, x, [number], seed=seed).predictions[0]


def check_inputs(state: LearnerState, x: Tensor) -> None:
    """Refuse inputs of another shape than the tasks', and states that have learnt nothing."""
    if state.num_tasks == 0:
        raise value_error(
            "state", expected="one that has learnt a task", found="one that has learnt none", hint="Call learn() first."
        )
    if not isinstance(x, torch.Tensor) or tuple(x.shape[1:]) != state.input_shape:
        raise value_error("x", expected=f"inputs of shape (N, {', '.join(map(str, state.input_shape))})", got=x)
