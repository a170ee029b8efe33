"""Assessing a learner after each task: every test input of the tasks so far, with the task given and inferred."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..continual import CRITERIA, Learner, LearnerState, StreamPrediction
from ..tasks import TaskStream

__all__ = ["assess", "predict_seen"]


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
        criterion of task inference, where an answer counts only if the task is right too; ``task``: how often the task
        is inferred rightly; and ``nll``, ``ece``, ``brier`` or ``coverage`` with the task given.
    """
    prediction, y, number = predict_seen(learner, state, stream, seed)
    judge = _judge_classes if stream.kind == "classification" else _judge_values
    return {"task": state.num_tasks - 1, "kind": stream.kind, **judge(prediction, y, number, state.num_tasks)}


def _per_task(values: Tensor, number: Tensor, num_tasks: int) -> list[float]:
    return [float(values[number == t].double().mean()) for t in range(num_tasks)]


def _at(values: Tensor, task: Tensor) -> Tensor:
    """Entries of ``values`` ``(N, T, ...)`` at one task per row."""
    return values[torch.arange(len(task), device=task.device), task]


def _judge_classes(prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int) -> dict[str, Any]:
    means = prediction.means
    right = means.argmax(-1) == y[:, None]
    given = _at(means, number)
    result: dict[str, Any] = {
        "given": _per_task(_at(right, number), number, num_tasks),
        "inferred": {},
        "inference": {},
    }
    for criterion in CRITERIA:
        task = prediction.task(criterion)
        hit = task == number
        result["inference"][criterion] = _per_task(hit, number, num_tasks)
        result["inferred"][criterion] = _per_task(hit & _at(right, task), number, num_tasks)
    result["nll"] = _each(metrics.nll, given, y, number, num_tasks)
    result["brier"] = _each(metrics.brier, given, y, number, num_tasks)
    result["ece"] = _each(metrics.ece, given, y, number, num_tasks)
    result["ece_all"] = float(metrics.ece(given, y))
    return result


def _each(metric: Any, means: Tensor, y: Tensor, number: Tensor, num_tasks: int) -> list[float]:
    return [float(metric(means[number == t], y[number == t])) for t in range(num_tasks)]


def _judge_values(prediction: StreamPrediction, y: Tensor, number: Tensor, num_tasks: int) -> dict[str, Any]:
    error = (prediction.means - y[:, None]).square().mean(-1)
    result: dict[str, Any] = {
        "given": _per_task(_at(error, number), number, num_tasks),
        "inferred": {},
        "inference": {},
    }
    for criterion in CRITERIA:
        task = prediction.task(criterion)
        result["inference"][criterion] = _per_task(task == number, number, num_tasks)
        result["inferred"][criterion] = _per_task(_at(error, task), number, num_tasks)
    return result
