"""The learner of exact heads: a stream of tasks, or of batches without tasks, in one pass and in closed form."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor

from ...checks import check_data, check_seed
from ...errors import (
    check_choice,
    check_finite,
    check_instance,
    check_int,
    check_ints,
    check_number,
    check_shape,
    type_error,
    value_error,
)
from ...exact import BayesianLinearHead, ExactHead, GaussianClassesHead
from ...features import Features
from ...guides import Categorical
from ...inference import Callback
from ...mnets import MainNetInterface
from ...mnets.inputs import floating_like
from ...rng import derive_seed
from ...tasks import Split, Task
from ..learner import Learner, LeavesOut, check_inputs, check_task
from ..parts import check_optional
from ..state import LearnerState
from ..task_inference import DensitySettings, log_densities
from ..task_inference.density import fit_density
from ..task_inference.prediction import StreamPrediction
from .memory import ExactMemory, HeadNetwork, HeadPosterior
from .predictions import ExactScores, exact_scores, task_evidence, task_prediction
from .sharing import learn_chunks

__all__ = ["ExactStream", "memory_of"]

_HEADS = ("linear", "gaussian")
_GROWTH = 1.25
_CHUNK, _CALIBRATION, _MOST_READ = 1000, 2000, 10_000
_MOST_TASKS = 2**16


class ExactStream(Learner, LeavesOut):
    r"""One exact head over frozen features, without gradient steps, without forgetting, without stored examples.

    The features are fitted to the inputs of the first task. Of all examples the head keeps sums, which do not depend on
    the order of tasks, classes or examples: the weights after a stream are those of one pass over all its data at once.
    Probabilities of all classes so far come from one softmax; that of a task is the sum over its classes.

    The log-evidence of a task, its ``combined`` score, is :math:`\log p(t, x)`. For a linear head it is
    :math:`\log p(t | x) - \frac{N + 1}{2} \log(1 + h)`: with the leverage :math:`h` the second part is, but for a
    constant, the log-density of the features under one Gaussian of all examples, low for inputs that are unlike all
    that was learned. Thresholds for foreign inputs are those of training examples, each left out in turn
    (:meth:`predict_left_out`), so that none need be set aside. The criteria ``evidence`` and ``mahalanobis`` are those
    of Gaussian classes that share one covariance, from the same sums for both heads; ``max_logit`` and ``energy`` are
    of the logits. There is neither ``logit_variance`` nor ``vim``: the leverage, which plays their part, is the same
    for all tasks.

    Boundaries of tasks are not needed: :meth:`update` takes batches, whose classes may be new or old.

    Args:
        features: settings of the features.
        head: ``"linear"`` for a :class:`~bayeshnet.exact.BayesianLinearHead`, ``"gaussian"`` for a
            :class:`~bayeshnet.exact.GaussianClassesHead`.
        forgetting: factor of all sums for each later example, below 1 for streams that drift.
        density: settings of the density of each task's inputs, for comparisons and foreign inputs.

    The temperature of a linear head's probabilities is chosen by training examples: those of the newest task as if each
    were left out of the fit, or of a stream without tasks some batches before they are learned.

    Example:
        >>> from bayeshnet.features import RandomFourier
        >>> x = torch.randn(300, 2)
        >>> y = 10 * (x[:, 0] > 0) + (x[:, 1] > 0)
        >>> learner, state = ExactStream(RandomFourier(50)), None
        >>> for part in range(0, 300, 50):
        ...     state = learner.update(state, x[part : part + 50], y[part : part + 50])
        >>> prediction = learner.predict(state, torch.tensor([[1.0, -1.0]]))
        >>> prediction.all_labels.tolist(), prediction.label().item()
        ([0, 1, 10, 11], 10)
    """

    def __init__(
        self,
        features: Features,
        *,
        head: str = "linear",
        forgetting: float = 1.0,
        density: DensitySettings | None = None,
    ) -> None:
        self.features = check_instance("features", features, Features, "Features, such as RandomFourier(1000)")
        self.head = check_choice("head", head, _HEADS)
        self.forgetting = check_number("forgetting", forgetting, 0.0, 1.0)
        if self.forgetting == 0:
            raise value_error("forgetting", expected="a number above 0", got=forgetting)
        self.density = (
            check_optional("density", density, DensitySettings, "DensitySettings, or None") or DensitySettings()
        )

    def restore(self, task: Task, num_tasks: int) -> LearnerState:
        """Build a state for a checkpoint to be loaded into; see :meth:`Learner.restore`."""
        check_instance("task", task, Task, "a Task")
        if (number := check_int("num_tasks", num_tasks, 0)) > _MOST_TASKS:
            raise value_error("num_tasks", expected=f"an integer from 0 to {_MOST_TASKS}", got=num_tasks)
        state = self._state(task, None)
        for _ in range(number):
            state.posterior.grow()
            state.record_task(task, self.density.empty(task.input_shape, task.layout))
        like = floating_like(task.train.x)
        return state.to(device=like.device, dtype=like.dtype)

    @torch.inference_mode(False)
    def learn(
        self, state: LearnerState | None, task: Task, *, seed: int = 0, callbacks: Sequence[Callback] = ()
    ) -> LearnerState:
        """Learn one more task in one pass; see :meth:`Learner.learn`. There are no steps: callbacks are not called.

        Examples of a data set are read in chunks and not kept; some of the first task are read before, to fit features.
        Classes of the task of which there is no example are known, as classes that are unlikely.
        """
        seed = check_seed("seed", seed, 0)
        check_optional("state", state, LearnerState, "the LearnerState after the tasks before, or None")
        check_instance("task", task, Task, "a Task")
        new = self._state(task, seed) if state is None else copy.deepcopy(state)
        new.learner, new.num_outputs = self, max(new.num_outputs, task.num_outputs)
        new.check(task)
        labels = torch.tensor(task.labels or (), device=task.train.y.device)
        density = fit_density(self.density, task)
        memory, name = memory_of(new), f"x of task {task.name!r}"
        parts = ((check_finite(name, part.x), labels[part.y]) for part in task.train.chunks(_CHUNK))
        self._learn(memory, parts, len(task.train))
        memory.head.add_classes(labels)
        memory.note(labels)
        new.posterior.grow()
        new.record_task(task, density)
        return new

    @torch.inference_mode(False)
    def update(self, state: LearnerState | None, x: Tensor, y: Tensor, *, seed: int = 0) -> LearnerState:
        """Learn a batch of a stream without tasks, at the same cost whatever has come before.

        Args:
            state: what the last call returned; it is changed in place, and returned. None for the first batch, to whose
                inputs the features are fitted: let it be a large one.
            x: inputs ``(N, *input_shape)``.
            y: classes ``(N,)``: any integers, new ones among them.
            seed: seed of the features.

        Raises:
            ValueError: if an input is not finite or has another shape than before, or if the state has learned several
                tasks. The state is then as it was.
        """
        seed = check_seed("seed", seed, 0)
        check_optional("state", state, LearnerState, "the LearnerState that was returned before, or None")
        check_finite("x", check_data("x", x))
        if not x.ndim:
            raise value_error("x", expected="inputs (N, *input_shape)", got=x)
        check_shape("y", check_data("y", y), (len(x),))
        if y.is_floating_point():
            raise type_error("y", expected="classes, as integers", got=y)
        if state is None:
            split = Split(x, torch.zeros(len(y), dtype=torch.int64, device=y.device))
            task = Task("stream", split, split, 1, labels=(0,))
            state = self._state(task, seed)
            state.learner = self
            state.record_task(task, self.density.empty(task.input_shape, task.layout))
            state.posterior.grow()
            state.to(x.device)
        check_inputs(state, x)
        if state.num_tasks != 1:
            expected, advice = "one of a stream without tasks", "Learn the batch as a task, by learn()."
            raise value_error("state", expected=expected, found=f"one of {state.num_tasks} tasks", hint=advice)
        memory = memory_of(state)
        head, due = memory.head, int(memory.calibrated) * _GROWTH
        if isinstance(head, BayesianLinearHead) and 0 < due <= head.count:
            head.calibrate(memory.features_of(x), y, learned=False)
            memory.calibrated.fill_(int(head.count))
        if int(memory.calibrated):
            head.update(memory.features_of(x), y)
            memory.note(y)
        else:
            self._learn(memory, zip(x.split(_CHUNK), y.split(_CHUNK), strict=True), len(y))
        state.labels = [tuple(memory.order.tolist())]
        state.num_outputs = len(memory.order)
        state.sizes = [state.num_outputs]
        return state

    def predict_each(
        self, state: LearnerState, x: Tensor, tasks: Sequence[int] | None = None, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict under each task; see :meth:`Learner.predict_each`. Nothing is drawn."""
        check_inputs(state, x)
        check_seed("seed", seed)
        numbers = list(range(state.num_tasks)) if tasks is None else check_ints("tasks", tasks, 0)
        if not numbers or max(numbers) >= state.num_tasks:
            raise value_error("tasks", expected=f"numbers below the {state.num_tasks} tasks learned", got=tasks)
        memory = memory_of(state)
        parts = x.split(_CHUNK) if len(x) else (x,)
        scores = [exact_scores(memory.head, memory.features_of(part)) for part in parts]
        return self._prediction(state, numbers, x, scores)

    def predict_left_out(
        self, state: LearnerState, x: Tensor, y: Tensor, task_id: int, *, seed: int = 0
    ) -> StreamPrediction:
        """Predict training examples of a task as if each had been left out; see :class:`LeavesOut`.

        This is exact, but with forgetting each counts as an example of the mean weight, since none is known by its age.
        """
        check_inputs(state, x)
        number = check_task(state, task_id)
        check_seed("seed", seed)
        check_shape("y", check_data("y", y), (len(x),))
        memory, labels = memory_of(state), torch.tensor(state.labels[number], device=y.device)
        own = y.to(torch.int64) if not y.is_floating_point() and not y.is_complex() else torch.full_like(labels, -1)
        if not bool(((own >= 0) & (own < len(labels))).all()):
            raise value_error("y", expected=f"class indices from 0 to {len(labels) - 1}", got=y)
        scores = []
        for part, classes in zip(x.split(_CHUNK), labels[own].split(_CHUNK), strict=True):
            scores.append(exact_scores(memory.head, memory.features_of(part), classes))
        return self._prediction(state, [number], x, scores)

    def _prediction(
        self, state: LearnerState, numbers: Sequence[int], x: Tensor, scores: Sequence[ExactScores]
    ) -> StreamPrediction:
        """Put the prediction together from the scores under all classes, chunk by chunk."""
        memory, densities = memory_of(state), [state.densities[t] for t in numbers]
        found, dtype = ExactScores.joined(scores), memory.unit.dtype
        logits, leverage = found.logits, found.leverage
        labels = [state.labels[t] for t in numbers]
        columns = [torch.searchsorted(memory.head.labels, torch.tensor(own).to(memory.order)) for own in labels]
        every = [label for own in state.labels for label in own]
        shared = len(set(every)) < len(every)
        joint = torch.stack([logits[:, own].logsumexp(1) for own in columns], dim=1)
        posterior = joint - logits.logsumexp(1, keepdim=True)
        beta = memory.head.beta if isinstance(memory.head, BayesianLinearHead) else 1.0
        counts, evidence = memory.head.counts, posterior + found.log_input.unsqueeze(1)
        fitted = x.is_floating_point() and all(bool(d.log_weight.isfinite().any()) for d in densities)
        return StreamPrediction(
            tuple(task_prediction(logits[:, own], leverage, beta, dtype) for own in columns),
            log_densities(densities, x) if fitted else None,
            torch.stack([density.log_density_std for density in densities]).mean(),
            labels=tuple(labels),
            task_log_prob=None if shared else posterior.to(dtype),
            log_evidence=None if shared else evidence,
            evidence=torch.stack([task_evidence(found.log_density[:, own], counts[own]) for own in columns], 1),
            mahalanobis=torch.stack([found.distance[:, own].amin(1) for own in columns], 1).to(dtype),
        )

    def _state(self, task: Task, seed: int | None) -> LearnerState:
        """Build an empty state, with features fitted to the inputs of ``task`` unless ``seed`` is None."""
        if task.kind != "classification":
            raise value_error("task", expected="a task of classes", found=f"one of kind {task.kind!r}")
        if isinstance(task.train.x[:1], tuple):
            raise value_error("task", expected="one tensor of inputs, for features", found="several inputs")
        if seed is None:
            features = self.features.build(task.input_shape, task.layout)
        else:
            x = task.train.sample(_MOST_READ, seed).x
            features = self.features.fit(x, layout=task.layout, seed=derive_seed(seed, 0))
        like, memory = floating_like(task.train.x), ExactMemory(features, self._head(features.num_features))
        net = cast(MainNetInterface, HeadNetwork(memory))  # of that interface, what states and runs use
        state = LearnerState(net, Categorical(), HeadPosterior(memory), task)
        return state.to(device=like.device, dtype=like.dtype)

    def _head(self, num_features: int) -> ExactHead:
        """Build a head that has learned nothing."""
        kind = BayesianLinearHead if self.head == "linear" else GaussianClassesHead
        return kind(num_features, forgetting=self.forgetting)

    def _learn(self, memory: ExactMemory, parts: Iterable[tuple[Tensor, Tensor]], count: int) -> None:
        """Learn chunks of ``count`` examples; by at least 2,000, each left out in turn, choose the temperature."""
        step, size = max(1, count // _CALIBRATION), memory.features.num_features
        kept = learn_chunks(memory, parts, step, lambda: self._head(size))
        if isinstance(memory.head, BayesianLinearHead):
            every = [torch.cat(both) for both in zip(*kept, strict=True)]
            ages = count - 1 - torch.arange(0, count, step, device=every[1].device, dtype=torch.float64)
            every.append(self.forgetting**ages)
            for part, labels, weight in zip(*(each.split(_CHUNK) for each in every), strict=True):
                memory.head.calibrate(part, labels, weight=weight)
            memory.calibrated.fill_(int(memory.head.count))


def memory_of(state: LearnerState) -> ExactMemory:
    """Return the features and the head of a state of :class:`ExactStream`."""
    memory = getattr(state.posterior, "memory", None)
    if not isinstance(memory, ExactMemory):
        raise value_error("state", expected="a state of ExactStream", found="that of another learner")
    return memory
