"""The contract of continual learners: learn one task after another, predict with the task given or inferred."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, overload

from torch import Tensor

from ..checks import check_data, check_seed
from ..errors import check_instance, check_int, check_ints, value_error
from ..guides import Likelihood
from ..guides.likelihoods.places import AtPlaces
from ..inference import Callback, Prediction
from ..mnets import MainNetInterface
from ..mnets.inputs import check_network, inputs_match
from ..per_example import check_examples_apart
from ..representation import Settings
from ..tasks import DatasetInputs, Task, TaskStream
from .state import LearnerState
from .task_inference.prediction import StreamPrediction

__all__ = [
    "Learner",
    "LeavesOut",
    "check_before_training",
    "check_inputs",
    "check_num_tasks",
    "check_tasks",
    "check_widths",
    "width_of",
]

_MOST_TASKS = 1_000_000


class Learner(Settings, ABC):
    """A method of continual learning: ``state = learner.learn(state, task)``, starting from ``state = None``.

    A learner holds settings only; everything that is learned is in the state. Learning does not modify the given state:
    it returns a new one, so that the two can be compared.
    """

    @abstractmethod
    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """Build a state with the structure that it has after ``num_tasks`` tasks, for a checkpoint to be loaded into.

        Args:
            task: any task of the stream; it determines the shapes, the dtype and the device.
            num_tasks: number of tasks learned in the checkpoint.
        """

    @abstractmethod
    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task and return the new state.

        Args:
            state: state after the previous tasks; None for the first task. It is not modified.
            task: of the same kind and shapes as the previous ones.
            seed: seed of all random draws; the same seed gives the same state.
            callbacks: called after each optimizer step, for progress reports.
        """

    def finish(self, state: LearnerState, *, seed: int = 0) -> LearnerState:
        """Do what remains to be done after the last task; nothing by default.

        Returns:
            A new state, or ``state`` itself if there is nothing to do.
        """
        return state

    @abstractmethod
    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict ``x`` ``(N, *input_shape)`` under the assumption of each task in turn.

        Args:
            state: state after at least one task.
            x: inputs.
            tasks: numbers of the tasks to assume; None for all of them.
            seed: seed of the weight samples.
        """

    @overload
    def predict(self, state: LearnerState, x: Tensor, task_id: int, *, seed: int = 0) -> Prediction: ...

    @overload
    def predict(self, state: LearnerState, x: Tensor, task_id: None = None, *, seed: int = 0) -> StreamPrediction: ...

    @overload
    def predict(
        self, state: LearnerState, x: Tensor, task_id: int | None, *, seed: int = 0
    ) -> Prediction | StreamPrediction: ...

    def predict(
        self, state: LearnerState, x: Tensor, task_id: int | None = None, *, seed: int = 0
    ) -> Prediction | StreamPrediction:
        """Predict for inputs ``x`` ``(N, *input_shape)``.

        Args:
            state: state after at least one task.
            x: inputs.
            task_id: number of the task of the inputs, counted from 0; None if it is unknown.
            seed: seed of the weight samples.

        Returns:
            With ``task_id``, the :class:`~bayeshnet.inference.Prediction` of that task; without, a
            :class:`StreamPrediction`, which holds the predictions under all tasks and the posterior over tasks.
        """
        check_inputs(state, x)
        seed = check_seed("seed", seed)
        if task_id is None:
            return self.predict_each(state, x, seed=seed)
        return self.predict_each(state, x, [check_task(state, task_id)], seed=seed).predictions[0]


class LeavesOut(ABC):
    """A learner that can predict training examples as if each had been left out.

    Thresholds that training examples choose are too strict where these are predicted better than new ones.
    """

    @abstractmethod
    def predict_left_out(
        self, state: LearnerState, x: Tensor, y: Tensor, task_id: int, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict training examples of a task, under that task, as if each had been left out.

        Args:
            state: state after the task.
            x: inputs ``(N, *input_shape)`` that have been learned.
            y: their class indices within the task, ``(N,)``.
            task_id: number of the task.
            seed: seed of the weight samples.
        """


def check_task(state: LearnerState, task_id: int) -> int:
    """Return the number of a task that ``state`` has learned."""
    number = check_int("task_id", task_id, 0)
    if number >= state.num_tasks:
        raise value_error("task_id", expected=f"a number below the {state.num_tasks} tasks learned", got=task_id)
    return number


def check_inputs(state: LearnerState, x: Any) -> None:
    """Check that ``state`` has learned a task and that ``x`` has the input shape of its tasks."""
    check_instance("state", state, LearnerState, "a LearnerState", "It is what learn() returns.")
    if state.num_tasks == 0:
        raise value_error(
            "state",
            expected="one that has learned a task",
            found="one that has learned none",
            hint="Call learn() first.",
        )
    several = bool(state.input_shape) and isinstance(state.input_shape[0], tuple)
    for part in x if several and isinstance(x, tuple) else (x,):
        check_data("x", part)
    if not inputs_match(x, state.input_shape):
        each = [", ".join(["N", *map(str, s)]) for s in (state.input_shape if several else (state.input_shape,))]
        shapes = " and ".join(f"({shape})" for shape in each)
        raise value_error("x", expected=f"inputs of shape {shapes}" + ", in a tuple" * several, got=x)


def check_tasks(state: LearnerState, tasks: Any) -> list[int]:
    """Return the numbers of the tasks to assume: all that have been learned if ``tasks`` is None."""
    numbers = list(range(state.num_tasks)) if tasks is None else check_ints("tasks", tasks, 0)
    if not numbers or max(numbers) >= state.num_tasks:
        raise value_error("tasks", expected=f"numbers below the {state.num_tasks} tasks learned", got=tasks)
    return numbers


def check_num_tasks(num_tasks: Any) -> int:
    """Return a number of tasks for which a state can be built."""
    number = check_int("num_tasks", num_tasks, 0)
    if number > _MOST_TASKS:
        raise value_error("num_tasks", expected=f"an integer from 0 to {_MOST_TASKS}", got=num_tasks)
    return number


def check_widths(learner: Learner, stream: TaskStream) -> None:
    """Refuse a stream with a task of more classes than the learner's network will have, before the first task."""
    if stream.kind != "classification" or not hasattr(learner, "num_outputs"):
        return
    widest = max(stream, key=lambda task: task.num_outputs)
    if widest.num_outputs > width_of(stream[0], learner.num_outputs):
        expected = f"{widest.num_outputs}, the classes of the widest task, {widest.name!r}"
        found = f"{learner.num_outputs or stream[0].num_outputs}" + ", those of the first task" * (
            not learner.num_outputs
        )
        advice = f"Pass num_outputs={widest.num_outputs} to the learner (--learner.num_outputs on the command line)."
        raise value_error("num_outputs", expected=expected, found=found, hint=advice)


def check_outputs(likelihood: Likelihood, outputs: Any) -> None:
    """Refuse outputs ``(N, C, ...)`` per pixel or step, since the targets of tasks are one answer per example."""
    if isinstance(outputs, Tensor) and isinstance(likelihood.on(outputs.unsqueeze(0)), AtPlaces):
        expected = "one with outputs (N, C), since each example of a task has one answer"
        advice = "Train answers per pixel or step by fit with a BayesianModel, or pool them at the end of the network."
        found = f"outputs of shape {tuple(outputs.shape)}"
        raise value_error("network", expected=expected, found=found, hint=advice)


def width_of(task: Task, num_outputs: int | None) -> int:
    """Return the number of classes of the widest task, or of target values, where the first task is ``task``."""
    if num_outputs is not None and task.kind != "classification" and num_outputs != task.num_outputs:
        raise value_error("num_outputs", expected="None for tasks of values", got=num_outputs)
    return task.num_outputs if num_outputs is None else num_outputs


def check_before_training(state: LearnerState, net: MainNetInterface, x: Any, examples_apart: bool) -> None:
    """Refuse networks that would fail in training or after it; the network is put into evaluation mode."""
    state.net.eval()
    outputs = check_network(net, x)
    check_outputs(state.likelihood, outputs)
    if net is state.net and state.kind == "classification" and isinstance(outputs, Tensor) and outputs.ndim == 2:
        expected = state.likelihood.num_outputs(state.num_outputs)
        if outputs.shape[1] != expected:
            advice = "Where tasks have different numbers of classes, num_outputs is that of the widest one."
            found = f"one of {outputs.shape[1]}"
            raise value_error("network", expected=f"one of {expected} outputs", found=found, hint=advice)
    if examples_apart:
        if isinstance(x, tuple) or (isinstance(x, DatasetInputs) and isinstance(x[:1], tuple)):
            single = "one tensor of inputs, for gradients of each example"
            raise value_error("task", expected=single, found="several inputs", hint="Join them in one tensor.")
        check_examples_apart(net)
