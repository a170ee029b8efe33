"""Out-of-distribution (OOD) inputs at the end of a run: detection, and abstention at a calibrated threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ... import metrics
from ...continual import Abstention, Combination, DensitySettings, Learner, LearnerState, StreamPrediction
from ...continual.learner import LeavesOut
from ...continual.task_inference.evidence import TaskEvidence
from ...tasks import Split, TaskStream
from .assessment import predict_test_inputs

__all__ = [
    "FALSE_ALARM",
    "AbstentionRates",
    "DetectionRates",
    "FinalPredictions",
    "RefusalRates",
    "measure_abstention",
    "measure_detection",
    "predict_all",
]

FALSE_ALARM = 0.05
"""Fraction of in-distribution inputs that may be refused."""
_NUM_CALIBRATION = 200
_MOST_READ = 10_000
_SCORES = ("entropy", "mutual_information", "density", "combined")


@dataclass(frozen=True)
class FinalPredictions:
    """Predictions under all tasks after the last one.

    Args:
        known: predictions for the test inputs of all tasks.
        y: targets of the test inputs.
        number: number of each test input's task, ``(N,)``.
        ood: predictions for each set of OOD inputs.
        calibration: predictions for some inputs of each task under that task alone. They are not test inputs, and the
            densities that score them were fitted without them.
        calibrated_on: ``"validation"`` or ``"training"``.
    """

    known: StreamPrediction
    y: Tensor
    number: Tensor
    ood: Mapping[str, StreamPrediction]
    calibration: tuple[StreamPrediction, ...]
    calibrated_on: str


@torch.no_grad()
def predict_all(learner: Learner, state: LearnerState, stream: TaskStream, seed: int) -> FinalPredictions:
    """Make the predictions from which all results and figures at the end of a run are computed."""
    known, y, number = predict_test_inputs(learner, state, stream, seed)
    ood = {name: learner.predict_each(state, x, seed=seed) for name, x in stream.outliers.items()}
    validated = all(task.validation is not None for task in stream)
    noise = torch.stack([density.mean_noise for density in state.densities]).mean()
    calibration = []
    for t, task in enumerate(stream[: state.num_tasks] if ood else ()):
        split = (task.validation if task.validation is not None and validated else task.train).sample(_MOST_READ, seed)
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:_NUM_CALIBRATION]
        chosen = chosen.to(split.y.device)
        some = split.select(chosen).load()
        if isinstance(learner, LeavesOut) and not validated:
            prediction = learner.predict_left_out(state, some.x, some.y, t, seed=seed)
        else:
            prediction = learner.predict_each(state, some.x, [t], seed=seed)
        if not isinstance(split.x, Tensor) or not split.x.is_floating_point():
            calibration.append(prediction)
            continue
        settings = getattr(learner, "density", None)
        if validated or not isinstance(settings, DensitySettings) or len(split) == 1:  # then there is no other
            density = state.densities[t].log_density(split.x[chosen], noise)
        else:
            density = _held_out_density(settings, split, chosen, noise, task.layout)
        held_out: dict[str, Any] = {
            "log_density": density[:, None],
            "temperature": known.temperature,
            "combination": _of_task(known.combination, t),
        }
        whole = task.train.in_memory or len(task.train) <= _MOST_READ
        if prediction.evidence is not None and state.evidence is not None and whole and not validated:
            held_out["evidence"] = _held_out_evidence(state.evidence, split, chosen, t, stream.kind)
        calibration.append(replace(prediction, **held_out))
    calibrated_on = "validation" if validated else "training"
    return FinalPredictions(known, y, number, ood, tuple(calibration), calibrated_on)


def _of_task(combination: Combination | None, task: int) -> Combination | None:
    """Return the weights for predictions under one task alone."""
    if combination is None or not combination.task_weights:
        return combination
    return replace(combination, task_weights=combination.task_weights[task : task + 1])


def _held_out_evidence(evidence: TaskEvidence, split: Split, chosen: Tensor, task: int, kind: str) -> Tensor:
    """Compute the evidence ``(N, 1)`` of chosen training inputs of a task, as if they had not been learned."""
    y = split.y[chosen] if kind == "classification" else torch.zeros(len(chosen), dtype=torch.long)
    features = evidence.of(split.x[chosen])
    parts = 4 if 4 * len(chosen) > len(split) else 1
    scores = []
    for some, labels in zip(features.chunk(parts), y.to(features.device).chunk(parts), strict=True):
        scores.append(evidence.without(some, labels, task).scores(some, [task]).log_density)
    return torch.cat(scores)


def _held_out_density(
    settings: DensitySettings, split: Split, chosen: Tensor, noise: Tensor, layout: str | None
) -> Tensor:
    """Compute the log-density of chosen training inputs of a task under densities that were fitted without them.

    A density gives higher values to the inputs it was fitted to than to new ones, which would make thresholds far too
    high. A small split is scored in four parts, each under a density fitted to everything else; in a large one enough
    inputs remain to fit a single density without any of the chosen ones.
    """
    scores = []
    for part in chosen.chunk(4 if 4 * len(chosen) > len(split) else 1):
        rest = torch.ones(len(split), dtype=torch.bool, device=chosen.device)
        rest[part] = False
        labels = None if split.y.is_floating_point() else split.y[rest]
        scores.append(settings.fit(split.x[rest], labels, layout).log_density(split.x[part], noise))
    return torch.cat(scores)


@dataclass(frozen=True)
class DetectionRates:
    """Results of detection: separation of OOD inputs from test inputs, in percent: ``{set: {score: value}}``.

    Args:
        auroc: area under the ROC curve.
        fpr95: false-positive rate at 95 % recall.
    """

    auroc: Mapping[str, Mapping[str, float]]
    fpr95: Mapping[str, Mapping[str, float]]


def measure_detection(predictions: FinalPredictions) -> DetectionRates:
    """Compare the scores of OOD inputs with those of test inputs.

    The score of an input is the smallest value over the tasks of the entropy (for values: of the variance), of the
    mutual information, of the negative log-density, or of the negative combined score.
    """
    scores = _scores_of(predictions.known)
    known = {score: -predictions.known.scores(score).amax(-1) for score in scores}
    auroc, fpr95 = {}, {}
    for name, prediction in predictions.ood.items():
        ood = {score: -prediction.scores(score).amax(-1) for score in scores}
        auroc[name] = {s: 100 * float(metrics.auroc(known[s], ood[s])) for s in scores}
        fpr95[name] = {s: 100 * float(metrics.fpr95(known[s], ood[s])) for s in scores}
    return DetectionRates(auroc, fpr95)


@dataclass(frozen=True)
class RefusalRates:
    """Results of abstention by one score, in percent.

    Args:
        false_alarm: test inputs that are refused.
        refused: OOD inputs of each set that are refused.
        auroc: area under the ROC curve for each set; None if the thresholds accept everything.
    """

    false_alarm: float
    refused: Mapping[str, float]
    auroc: Mapping[str, float | None]


@dataclass(frozen=True)
class AbstentionRates:
    """Results of abstention: how often inputs are refused because they seem to belong to none of the tasks.

    Args:
        asked: rate of false alarms that was asked for, in percent.
        calibrated_on: ``"validation"`` or ``"training"``.
        scores: results by score.
    """

    asked: float
    calibrated_on: str
    scores: Mapping[str, RefusalRates]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON holds it, with the scores beside the other entries."""
        record = asdict(self)
        scores = record.pop("scores")
        return {**record, **scores}


def measure_abstention(predictions: FinalPredictions, false_alarm: float = FALSE_ALARM) -> AbstentionRates | None:
    """Measure how often test inputs and OOD inputs are refused, for each score; None if there are no OOD inputs."""
    if not predictions.ood:
        return None
    rates = {}
    for score in _scores_of(predictions.known):
        rule = Abstention.calibrate([_shared_scores(p, score)[:, 0] for p in predictions.calibration], false_alarm)
        known = rule.ood_score(_shared_scores(predictions.known, score))
        ood = {name: rule.ood_score(_shared_scores(p, score)) for name, p in predictions.ood.items()}
        rates[score] = RefusalRates(
            100 * float((known > 0).double().mean()),
            {name: 100 * float((values > 0).double().mean()) for name, values in ood.items()},
            {name: _auroc(known, values) for name, values in ood.items()},
        )
    return AbstentionRates(100 * false_alarm, predictions.calibrated_on, rates)


def _shared_scores(prediction: StreamPrediction, score: str) -> Tensor:
    """Return scores ``(N, T)`` under shared weights: under a task's own they depend on which tasks are beside it."""
    found = prediction.combination
    if found is not None and found.task_weights:
        prediction = replace(prediction, combination=replace(found, task_weights=()))
    return prediction.scores(score)


def _scores_of(prediction: StreamPrediction) -> list[str]:
    """Return the names of the scores that these predictions have; integers and several inputs have no density."""
    return [score for score in _SCORES if score in prediction.criteria]


def _auroc(known: Tensor, ood: Tensor) -> float | None:
    # With too few calibration inputs for the requested rate everything is accepted, and the margins are infinite.
    finite = bool(known.isfinite().all() and ood.isfinite().all())
    return 100 * float(metrics.auroc(known, ood)) if finite else None
