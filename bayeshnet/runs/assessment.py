"""Assessing a learner after each task: every test input of the tasks so far, with the task given and inferred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..continual import Learner, LearnerState, StreamPrediction
from ..continual.task_inference.criteria import variances
from ..tasks import TaskStream

__all__ = ["BATCH", "assess", "predict_seen"]

BATCH = 10
"""Inputs of one task that share a decision, for task inference in batches."""


def predict_seen(
    learner: Learner, state: LearnerState, stream: TaskStream, seed: int = 0
) -> tuple[StreamPrediction, Tensor, Tensor]:
    """Predictions for the test inputs of all tasks learnt, with their targets and the numbers of their tasks."""
    seen = stream[: state.num_tasks]
    x = torch.cat([task.test.x for task in seen])
    y = torch.cat([task.test.y for task in seen])
    number = torch.cat([torch.full((len(task.test),), i, device=x.device) for i, task in enumerate(seen)])
    return learner.predict_each(state, x, seed=seed), y, number


def assess(learner: Learner, state: LearnerState, stream: TaskStream, seed: int = 0) -> dict[str, Any]:
    """Results on the tasks learnt so far, one number per task in each list, fractions and nats.

    Returns:
        ``given``: accuracy (classes) or mean squared error (values) with the task given; ``inferred``: the same by each
        criterion of task inference, where an answer counts only if the task is right too; ``inference``: how often the
        task is inferred rightly, ``inference_batch``: the same when :data:`BATCH` inputs of a task decide together, and
        ``inference_targets`` when each input comes with its target; ``ahead``: what the newest task's posterior makes
        of the next task before that is learnt; and, with the task given, ``nll``, ``brier``, ``ece`` for classes,
        ``log_likelihood``, ``coverage``, ``crps`` for values.
    """
    prediction, y, number = predict_seen(learner, state, stream, seed)
    judge = _judge_classes if stream.kind == "classification" else _judge_values
    record = {"task": state.num_tasks - 1, "kind": stream.kind, **judge(prediction, y, number, state.num_tasks)}
    record.update(_inference(prediction, y, number, state.num_tasks))
    if state.num_tasks < len(stream):
        record["ahead"] = _ahead(learner, state, stream, seed)
    return record


def _per_task(values: Tensor, number: Tensor, num_tasks: int) -> list[float]:
    return [float(values[number == t].double().mean()) for t in range(num_tasks)]


def _at(values: Tensor, task: Tensor) -> Tensor:
    """Entries of ``values`` ``(N, T, ...)`` at one task per row."""
    return values[torch.arange(len(task), device=task.device), task]


def _each(metric: Callable[..., Tensor], number: Tensor, num_tasks: int, *values: Tensor) -> list[float]:
    return [float(metric(*(v[number == t] for v in values))) for t in range(num_tasks)]


def _inference(prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int) -> dict[str, Any]:
    scores = {c: prediction.scores(c) for c in prediction.criteria}

    def right(values: Tensor, batch_size: int) -> list[float]:
        chosen = [values[number == t].double() for t in range(num_tasks)]
        return [float(metrics.task_inference_accuracy(s, t, batch_size)) for t, s in enumerate(chosen)]

    return {
        "inference": {c: right(s, 1) for c, s in scores.items()},
        "inference_batch": {c: right(s, BATCH) for c, s in scores.items()},
        "inference_targets": right(prediction.target_log_prob(y), 1),
    }


def _ahead(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> float:
    """Accuracy or mean squared error on the next task, by the class numbers of the newest one."""
    test = stream[state.num_tasks].test
    mean = learner.predict_each(state, test.x, [state.num_tasks - 1], seed=seed).predictions[0].mean
    return float(metrics.accuracy(mean, test.y) if stream.kind == "classification" else metrics.mse(mean, test.y))


def _judge_classes(prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int) -> dict[str, Any]:
    means = prediction.means
    right = means.argmax(-1) == y[:, None]
    given = _at(means, number)
    inferred = {}
    for criterion in prediction.criteria:
        task = prediction.task(criterion)
        inferred[criterion] = _per_task((task == number) & _at(right, task), number, num_tasks)
    return {
        "given": _per_task(_at(right, number), number, num_tasks),
        "inferred": inferred,
        "nll": _each(metrics.nll, number, num_tasks, given, y),
        "brier": _each(metrics.brier, number, num_tasks, given, y),
        "ece": _each(metrics.ece, number, num_tasks, given, y),
        "ece_all": float(metrics.ece(given, y)),
        "labels": _judge_labels(prediction, y, number),
    }


def _judge_labels(prediction: StreamPrediction, y: Tensor, number: Tensor) -> dict[str, float]:
    """The probabilities of global labels, with the task not given but weighed by its combined posterior."""
    if prediction.labels is None:
        return {}
    label = torch.tensor(prediction.labels, device=y.device)[number, y]
    probs = prediction.label_probs()
    judges = {"accuracy": metrics.accuracy, "nll": metrics.nll, "brier": metrics.brier, "ece": metrics.ece}
    return {name: float(judge(probs, label)) for name, judge in judges.items()}


def _judge_values(prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int) -> dict[str, Any]:
    error = (prediction.means - y[:, None]).square().mean(-1)
    mean = _at(prediction.means, number)
    std = _at(torch.stack([variances(p) for p in prediction.predictions], dim=1), number).sqrt()
    return {
        "given": _per_task(_at(error, number), number, num_tasks),
        "inferred": {c: _per_task(_at(error, prediction.task(c)), number, num_tasks) for c in prediction.criteria},
        "log_likelihood": _each(metrics.gaussian_log_likelihood, number, num_tasks, mean, std, y),
        "coverage": _each(metrics.gaussian_coverage, number, num_tasks, mean, std, y),
        "crps": _each(metrics.gaussian_crps, number, num_tasks, mean, std, y),
    }
