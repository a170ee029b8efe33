"""Foreign inputs at the end of a run: how well they are told from known ones, and refused at a calibrated threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..continual import Abstention, DensitySettings, Learner, LearnerState, StreamPrediction, VariationalLearner
from ..tasks import Split, TaskStream
from .assessment import predict_seen

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
        calibration: of some inputs of each task under that task, which are no test inputs; densities are of fits
            without them.
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
    noise = torch.stack([density.mean_noise for density in state.densities]).mean()
    calibration = []
    for t, task in enumerate(stream[: state.num_tasks] if foreign else ()):
        split = task.validation if task.validation is not None and validated else task.train
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:_CALIBRATION]
        chosen = chosen.to(split.x.device)
        prediction = learner.predict_each(state, split.x[chosen], [t], seed=seed)
        if validated or not isinstance(learner, VariationalLearner):
            density = state.densities[t].log_density(split.x[chosen], noise)
        else:
            density = _held_out_density(learner.density, split, chosen, noise)
        calibration.append(replace(prediction, log_density=density[:, None], temperature=known.temperature))
    where = "validation" if validated else "training"
    return FinalPredictions(known, y, number, foreign, tuple(calibration), where)


def _held_out_density(settings: DensitySettings, split: Split, chosen: Tensor, noise: Tensor) -> Tensor:
    """Log-density of chosen training inputs of a task under densities that were fitted without them.

    A density scores what it was fitted to better than new inputs, and thresholds would be far too high. Few inputs are
    scored in four parts, each under a density of the other three and the rest; many leave enough to fit once.
    """
    scores = []
    for part in chosen.chunk(4 if 4 * len(chosen) > len(split) else 1):
        rest = torch.ones(len(split), dtype=torch.bool, device=chosen.device)
        rest[part] = False
        labels = None if split.y.is_floating_point() else split.y[rest]
        scores.append(settings.fit(split.x[rest], labels).log_density(split.x[part], noise))
    return torch.cat(scores)


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
        rule = Abstention.calibrate([p.scores(score)[:, 0] for p in predictions.calibration], false_alarm)
        known = rule.ood_score(predictions.known.scores(score))
        foreign = {name: rule.ood_score(p.scores(score)) for name, p in predictions.foreign.items()}
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
