"""Foreign inputs at the end of a run: how well they are told from known ones, and refused at a calibrated threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..continual import Abstention, Learner, LearnerState, StreamPrediction
from ..tasks import TaskStream
from .evaluation import predict_seen

__all__ = ["FALSE_ALARM", "FinalPredictions", "abstention", "detection", "predict_all"]

FALSE_ALARM = 0.05
"""Share of known inputs that may be refused."""
_CALIBRATION = 200
_SCORES = ("entropy", "mutual_information", "density", "combined")


@dataclass(frozen=True)
class FinalPredictions:
    """Predictions under all tasks after the last one.

    Args:
        known: of the test inputs of all tasks.
        y: their targets.
        number: their tasks, ``(N,)``.
        foreign: of each set of foreign inputs.
        calibration: of some inputs of each task that are no test inputs.
        calibrated_on: ``"validation"`` or ``"training"``.
    """

    known: StreamPrediction
    y: Tensor
    number: Tensor
    foreign: Mapping[str, StreamPrediction]
    calibration: tuple[StreamPrediction, ...]
    calibrated_on: str


@torch.no_grad()
def predict_all(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> FinalPredictions:
    """Predict once whatever numbers and figures of the end of a run are made from."""
    known, y, number = predict_seen(learner, state, stream, seed)
    foreign = {name: learner.predict_each(state, x, seed=seed) for name, x in stream.outliers.items()}
    validated = all(task.validation is not None for task in stream)
    calibration = []
    for task in stream[: state.num_tasks] if foreign else ():
        x = task.validation.x if validated else task.train.x
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:_CALIBRATION]
        calibration.append(learner.predict_each(state, x[chosen.to(x.device)], seed=seed))
    where = "validation" if validated else "training"
    return FinalPredictions(known, y, number, foreign, tuple(calibration), where)


def detection(predictions: FinalPredictions) -> dict[str, dict[str, dict[str, float]]]:
    """AUROC and false-positive rate at 95 % recall, in percent, of telling foreign inputs from test inputs.

    The score of an input is the negative of its best task's evidence: the least entropy (for values: variance) or
    mutual information over tasks, the negative largest log-density.

    Returns:
        ``{"auroc": {set: {score: ...}}, "fpr95": {set: {score: ...}}}``.
    """
    found: dict[str, dict[str, dict[str, float]]] = {"auroc": {}, "fpr95": {}}
    known = {score: -predictions.known.scores(score).amax(-1) for score in _SCORES}
    for name, prediction in predictions.foreign.items():
        foreign = {score: -prediction.scores(score).amax(-1) for score in _SCORES}
        found["auroc"][name] = {s: 100 * float(metrics.auroc(known[s], foreign[s])) for s in _SCORES}
        found["fpr95"][name] = {s: 100 * float(metrics.fpr95(known[s], foreign[s])) for s in _SCORES}
    return found


def abstention(predictions: FinalPredictions, false_alarm: float = FALSE_ALARM) -> dict[str, Any]:
    """How often test inputs and foreign inputs are refused as of no known task, in percent, for each score.

    Returns:
        ``asked`` (the rate of false alarms), ``calibrated_on``, and for each score ``false_alarm`` (test inputs
        refused), ``refused`` and ``auroc`` by set of foreign inputs.
    """
    if not predictions.foreign:
        return {}
    result: dict[str, Any] = {"asked": 100 * false_alarm, "calibrated_on": predictions.calibrated_on}
    for score in _SCORES:
        rule = Abstention.calibrate([p.scores(score) for p in predictions.calibration], false_alarm)
        known = rule.foreignness(predictions.known.scores(score))
        foreign = {name: rule.foreignness(p.scores(score)) for name, p in predictions.foreign.items()}
        result[score] = {
            "false_alarm": 100 * float((known > 0).double().mean()),
            "refused": {name: 100 * float((values > 0).double().mean()) for name, values in foreign.items()},
            "auroc": {name: _auroc(known, values) for name, values in foreign.items()},
        }
    return result


def _auroc(known: Tensor, foreign: Tensor) -> float | None:
    # Too few calibration inputs for the rate asked for accept everything: there is nothing to order.
    finite = bool(known.isfinite().all() and foreign.isfinite().all())
    return 100 * float(metrics.auroc(known, foreign)) if finite else None
