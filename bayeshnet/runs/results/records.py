"""Records of the assessment after each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["Assessment", "ClassificationScores", "PerTask", "RegressionScores", "Seconds"]

PerTask = tuple[float, ...]
"""One number for each task learned so far."""


@dataclass(frozen=True)
class ClassificationScores:
    """Quality of class probabilities with the task given: nats for the NLL, fractions for the rest.

    Args:
        nll: mean negative log-likelihood of each task.
        brier: Brier score of each task.
        ece: expected calibration error of each task.
        ece_all: expected calibration error over the examples of all tasks.
        labels: scores of the probabilities of global labels, averaged over the posterior of tasks; empty if the stream
            has no labels.
        joint_nll: NLL of ten labels together of each task, after the last task only, in nats; see
            :func:`~bayeshnet.metrics.joint_nll`.
    """

    nll: PerTask
    brier: PerTask
    ece: PerTask
    ece_all: float
    labels: Mapping[str, float]
    joint_nll: PerTask = ()


@dataclass(frozen=True)
class RegressionScores:
    """Quality of predictive distributions of values with the task given.

    Args:
        log_likelihood: mean log-likelihood of each task, in nats.
        coverage: fraction of targets inside the central 95 % interval of each task.
        crps: continuous ranked probability score of each task, in the units of the targets.
    """

    log_likelihood: PerTask
    coverage: PerTask
    crps: PerTask


@dataclass(frozen=True)
class Seconds:
    """Wall time of training and of assessment."""

    train: float
    assess: float


@dataclass(frozen=True)
class Assessment:
    """Results on the test examples of the tasks learned so far; fractions and nats.

    Args:
        task: number of the newest task.
        kind: ``"classification"`` or ``"regression"``.
        given: accuracy (classes) or mean squared error (values) of each task with the task given.
        inferred: the same with the task inferred by each criterion; a class counts as right only if the task is too.
        scores: further scores with the task given.
        inference: fraction of inputs of each task whose task each criterion infers correctly.
        inference_batch: the same when several inputs of one task are judged together.
        inference_targets: the same when each input comes with its target.
        ahead: accuracy or mean squared error of the newest task's posterior on the next task, which has not been
            learned yet; None after the last task.
        seconds: time taken, once measured.
        curves: learning curves of the newest task, see :class:`~bayeshnet.runs.curves.Curves`.
    """

    task: int
    kind: str
    given: PerTask
    inferred: Mapping[str, PerTask]
    scores: ClassificationScores | RegressionScores
    inference: Mapping[str, PerTask]
    inference_batch: Mapping[str, PerTask]
    inference_targets: PerTask
    ahead: float | None = None
    seconds: Seconds = Seconds(0.0, 0.0)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON holds it."""
        record = asdict(self)
        first = {name: record.pop(name) for name in ("task", "kind", "given", "inferred")}
        last = {name: record.pop(name) for name in ("seconds", "curves")}
        ahead = record.pop("ahead")
        scores = record.pop("scores")
        return {**first, **scores, **record, **({} if ahead is None else {"ahead": ahead}), **last}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Assessment:
        """Build from what JSON holds."""
        kinds = {"classification": ClassificationScores, "regression": RegressionScores}
        scores = kinds[record["kind"]]
        known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        known["scores"] = scores(**{f.name: _frozen(record[f.name]) for f in fields(scores) if f.name in record})
        known["seconds"] = Seconds(**record["seconds"])
        return cls(**{name: value if name == "curves" else _frozen(value) for name, value in known.items()})


def _frozen(value: Any) -> Any:
    """Return ``value`` with tuples in place of lists, also inside mappings."""
    if isinstance(value, list):
        return tuple(value)
    return {name: _frozen(entry) for name, entry in value.items()} if isinstance(value, dict) else value
