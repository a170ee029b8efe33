"""Numbers at the end of a run, computed from the assessments after each task: percent for fractions, nats for the rest.

The entries of each dictionary are those of ``metrics.json``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ... import metrics
from ...tasks import TaskStream
from .records import Assessment, ClassificationScores, PerTask, RegressionScores

__all__ = ["accuracy_matrices", "final_numbers", "mean", "task_numbers"]

Numbers = dict[str, Any]


def final_numbers(assessments: Sequence[Assessment], stream: TaskStream) -> Numbers:
    """Compute means over tasks after the last task, transfer and forgetting."""
    last = assessments[-1]
    given = _matrix(assessments)
    ahead = [a.ahead for a in assessments[:-1] if a.ahead is not None]
    if isinstance(last.scores, ClassificationScores):
        return _final_of_classes(assessments, last.scores, given, _with_ahead(given, ahead), stream)
    # The baseline predicts the mean of the targets: its error is their variance.
    baseline = [-float(task.test.y.var(0, correction=0).mean()) for task in stream]
    return _final_of_values(
        last, last.scores, given, _with_ahead(given, ahead), torch.tensor(baseline, dtype=torch.float64)
    )


def _final_of_classes(
    assessments: Sequence[Assessment], scores: ClassificationScores, given: Tensor, ahead: Tensor, stream: TaskStream
) -> Numbers:
    last = assessments[-1]
    summary = metrics.summarize(100 * given)
    chance = torch.tensor([1 / task.num_outputs for task in stream], dtype=torch.float64)
    return {
        "accuracy_task_given": _percent(last.given),
        "accuracy_task_inferred": {c: _percent(fractions) for c, fractions in last.inferred.items()},
        **_task_inference(last),
        "during": summary.during,
        "average": summary.average,
        "backward_transfer": summary.backward_transfer,
        "forward_transfer": 100 * float(metrics.forward_transfer(ahead, chance)),
        **_forgetting(summary),
        "nll": mean(scores.nll),
        **({"joint_nll": mean(scores.joint_nll)} if scores.joint_nll else {}),
        "brier": mean(scores.brier),
        "ece": 100 * scores.ece_all,
        "labels": {k: 100 * v if k in ("accuracy", "ece") else v for k, v in scores.labels.items()},
        **_all_classes(assessments),
    }


def _final_of_values(
    last: Assessment, scores: RegressionScores, given: Tensor, ahead: Tensor, baseline: Tensor
) -> Numbers:
    summary = metrics.summarize(-given)  # Less is better.
    return {
        "mse_task_given": mean(last.given),
        "rmse_task_given": math.sqrt(mean(last.given)),
        "mse_during": -summary.during,
        "mse_average": -summary.average,
        "mse_task_inferred": {c: mean(errors) for c, errors in last.inferred.items()},
        **_task_inference(last),
        "backward_transfer": summary.backward_transfer,
        "forward_transfer": float(metrics.forward_transfer(-ahead, baseline)),
        **_forgetting(summary),
        "log_likelihood": mean(scores.log_likelihood),
        "coverage": _percent(scores.coverage),
        "crps": mean(scores.crps),
    }


def _forgetting(summary: metrics.ContinualSummary) -> Numbers:
    """Return the forgetting from the best earlier result, under both its names, and from that just after learning."""
    return {
        "forgetting": summary.forgetting,
        "forgetting_from_best": summary.forgetting_from_best,
        "forgetting_during": summary.forgetting_during,
    }


def _all_classes(assessments: Sequence[Assessment]) -> Numbers:
    """Return the scores of the predictive over all classes seen; nothing for streams without labels."""
    labels = [a.scores.labels for a in assessments if isinstance(a.scores, ClassificationScores)]
    if not labels or not all("accuracy" in scores for scores in labels):
        return {}
    return {
        "last_accuracy": 100 * labels[-1]["accuracy"],
        "average_incremental_accuracy": _percent([scores["accuracy"] for scores in labels]),
        "nll_all_classes": labels[-1]["nll"],
        "brier_all_classes": labels[-1]["brier"],
        "ece_all_classes": 100 * labels[-1]["ece"],
    }


def _task_inference(last: Assessment) -> Numbers:
    """Compute the percentage of correctly inferred tasks, mean over tasks."""
    return {
        "task_inference": {c: _percent(fractions) for c, fractions in last.inference.items()},
        "task_inference_batch": {c: _percent(fractions) for c, fractions in last.inference_batch.items()},
        "task_inference_targets": _percent(last.inference_targets),
    }


def task_numbers(assessments: Sequence[Assessment]) -> list[Numbers]:
    """Return the numbers of each task after the last one."""
    return [_numbers_of_task(assessments[t], assessments[-1], t) for t in range(len(assessments))]


def _numbers_of_task(during: Assessment, last: Assessment, t: int) -> Numbers:
    inference = {c: 100 * fractions[t] for c, fractions in last.inference.items()}
    if isinstance(last.scores, ClassificationScores):
        return {
            "accuracy_task_given": 100 * last.given[t],
            "accuracy_during": 100 * during.given[t],
            "accuracy_task_inferred": {c: 100 * fractions[t] for c, fractions in last.inferred.items()},
            "task_inference": inference,
            "nll": last.scores.nll[t],
            **({"joint_nll": last.scores.joint_nll[t]} if last.scores.joint_nll else {}),
            "brier": last.scores.brier[t],
            "ece": 100 * last.scores.ece[t],
        }
    return {
        "mse_task_given": last.given[t],
        "mse_during": during.given[t],
        "mse_task_inferred": {c: errors[t] for c, errors in last.inferred.items()},
        "task_inference": inference,
        "log_likelihood": last.scores.log_likelihood[t],
        "coverage": 100 * last.scores.coverage[t],
        "crps": last.scores.crps[t],
    }


def accuracy_matrices(assessments: Sequence[Assessment]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Return accuracy in percent (or mean squared error), with the task given and inferred by each criterion.

    Returns:
        One lower triangular matrix each, as rows in time of tasks.
    """
    factor = 100.0 if assessments[-1].kind == "classification" else 1.0

    def scaled(row: PerTask) -> tuple[float, ...]:
        return tuple(factor * value for value in row)

    matrices = {"given": tuple(scaled(a.given) for a in assessments)}
    for criterion in assessments[-1].inferred:
        matrices[criterion] = tuple(scaled(a.inferred[criterion]) for a in assessments)
    return matrices


def _matrix(assessments: Sequence[Assessment]) -> Tensor:
    """Return the numbers with the task given ``(T, T)``, NaN above the diagonal."""
    full = torch.full((len(assessments), len(assessments)), float("nan"), dtype=torch.float64)
    for i, assessment in enumerate(assessments):
        full[i, : len(assessment.given)] = torch.tensor(assessment.given, dtype=torch.float64)
    return full


def _with_ahead(matrix: Tensor, ahead: Sequence[float]) -> Tensor:
    """Return the matrix with the numbers of each next task, before it was learned, just above the diagonal."""
    full = matrix.clone()
    full.diagonal(1).copy_(torch.tensor(ahead, dtype=full.dtype))
    return full


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def _percent(values: Sequence[float]) -> float:
    return 100 * mean(values)
