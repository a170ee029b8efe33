"""Results of a run as frozen records that are written to JSON and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..checks import check_items, check_mapping, check_path, check_text
from ..deprecation import moved_names
from ..errors import check_choice, check_instance, check_int, type_error, value_error
from ..files import check_file, read_json, read_manifest, write_text
from .schema import check_record

__all__ = ["DriftRecord", "InformationRecord", "KLRecord", "RunResult", "load_results"]

_NAME = "metrics.json"

__getattr__ = moved_names(
    __name__,
    {
        "Bands": "reports.Bands",
        "Planes": "reports.Planes",
        "RunArrays": "reports.FigureData",
    },
)

VERDICTS = ("trusted", "not certified")
"""Verdicts on a KL."""


@dataclass(frozen=True)
class InformationRecord:
    """Mutual information of weights and latent in nats.

    Args:
        livi: estimate of LIVI.
        lower: lower estimate by importance sampling.
        upper: upper estimate by importance sampling.
        ess: effective sample size of the importance weights.
    """

    livi: float
    lower: float
    upper: float
    ess: float | None = None

    def __post_init__(self) -> None:
        """Check that all are numbers."""
        _check_numbers(self)


@dataclass(frozen=True)
class KLRecord:
    """KL of a task's posterior from the prior in nats; None where it has no value.

    Args:
        value: closed form, or for implicit posteriors ``analytic`` minus the mutual information.
        lower: lower end of the 95 % interval.
        upper: upper end.
        analytic: closed form, or the mean over the latent of the KL of the conditional Gaussian.
        mutual_information: mutual information of weights and latent, for implicit posteriors.
        verdict: ``"trusted"`` or ``"not certified"``; None in records of earlier versions.
    """

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    analytic: float | None = None
    mutual_information: InformationRecord | None = None
    verdict: str | None = None

    def __post_init__(self) -> None:
        """Check that all are numbers, and the verdict."""
        _check_numbers(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> KLRecord:
        """Build from a mapping read from JSON."""
        known = {f.name: record.get(f.name) for f in fields(cls)}
        information = known["mutual_information"]
        if isinstance(information, Mapping):
            names = {f.name for f in fields(InformationRecord)}
            known["mutual_information"] = InformationRecord(**{k: v for k, v in information.items() if k in names})
        return cls(**known)


@dataclass(frozen=True)
class DriftRecord:
    """Difference between the posterior of a task just after it was learned (then) and at the end (now).

    Args:
        mmd: squared maximum mean discrepancy of draws, whitened by the prior.
        kl: KL(then, now) in nats; None where there is none, as for points, or where the weights are not the same.
        lower: lower end of its 95 % interval.
        upper: upper end.
        verdict: of the interval, ``"trusted"`` or ``"not certified"``.
        accuracy: share of draws that a classifier knows to be from then or now, 0.5 if they are alike; None for points.
        p_value: probability of such an accuracy for a posterior that has not moved.
        predictions: mean total variation between the predicted class probabilities of the test inputs then and now; for
            values the root mean square of the change of the mean in predictive standard deviations.
        at_least: what the KL is at least, with 97.5 % confidence, whatever the verdict; None where it is not known.
    """

    mmd: float | None = None
    kl: float | None = None
    lower: float | None = None
    upper: float | None = None
    verdict: str | None = None
    accuracy: float | None = None
    p_value: float | None = None
    predictions: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        """Check that all are numbers."""
        _check_numbers(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> DriftRecord:
        """Build from a mapping read from JSON."""
        return cls(**{f.name: record.get(f.name) for f in fields(cls)})


@dataclass(frozen=True)
class RunResult:
    """All numbers of one run: fractions in percent, the rest in nats or the units of the targets.

    Args:
        data: name of the stream.
        method: name of the method.
        seed: seed of the run.
        tasks: names of the tasks, in the order in which they were learned.
        final: numbers after the last task. For classes ``accuracy_task_given``, ``accuracy_task_inferred`` (by
            criterion), ``last_accuracy``, ``forgetting``, ``nll``, ``ece``, ``ood_auroc`` and others; for values
            ``mse_task_given`` and the corresponding ones. "How we measure" in the documentation defines all of them.
        per_task: the same for each task.
        matrix: accuracy (classes) or mean squared error (values) with the task ``given`` and inferred by each
            criterion; row ``i`` holds tasks ``0..i`` after learning task ``i``.
        kl: KL of the posterior of each task from the prior.
        drift: drift of each posterior but the last since its task was learned; empty in records of earlier versions.
        alarms: a sentence for each thing that is wrong with the posteriors, by name; see
            :func:`bayeshnet.runs.results.alarms.find_alarms`.
        kind: ``"classification"`` or ``"regression"``.
        ood: AUROC for each set of out-of-distribution (OOD) inputs, by score.
        ood_fpr95: false-positive rate at 95 % recall, likewise.
        abstention: rates at which inputs are refused, by score; see :class:`bayeshnet.continual.Abstention`.
        seconds: wall time: ``train``, ``assess``, ``per_task``.
        versions: versions of the software.
        judged_on: ``"test"``, or ``"validation"`` where settings were being chosen.
        settings: settings of the learner and options of the stream, the seed of the data among them, as text by name;
            empty in records of earlier versions.
    """

    data: str
    method: str
    seed: int
    tasks: tuple[str, ...]
    final: Mapping[str, Any]
    per_task: tuple[Mapping[str, Any], ...] = ()
    matrix: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    kl: tuple[KLRecord, ...] = ()
    kind: str = "classification"
    ood: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ood_fpr95: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    abstention: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    judged_on: str = "test"
    settings: Mapping[str, str] = field(default_factory=dict)
    drift: tuple[DriftRecord, ...] = ()
    alarms: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the kind, the split, the shape of the matrices and the types of the rest."""
        for name in ("data", "method"):
            check_text(name, getattr(self, name))
        check_int("seed", self.seed)
        check_items("tasks", self.tasks, "the names of the tasks", str)
        check_items("per_task", self.per_task, "a mapping of numbers for each task", Mapping)
        check_items("kl", self.kl, "a KLRecord for each task", KLRecord)
        check_items("drift", self.drift, "a DriftRecord for each task but the last one", DriftRecord)
        for name in ("final", "abstention", "seconds", "versions", "settings", "alarms"):
            check_mapping(name, getattr(self, name), "a mapping")
        for name in ("matrix", "ood", "ood_fpr95"):
            check_mapping(name, getattr(self, name), "a mapping", Mapping if name != "matrix" else object)
        check_choice("judged_on", self.judged_on, ("test", "validation"))
        check_choice("kind", self.kind, ("classification", "regression"))
        for name, given in self.matrix.items():
            where = f"matrix[{name!r}]"
            rows = [
                check_items(where, row, "rows of numbers", (int, float, type(None)))
                for row in check_items(where, given, "rows of numbers")
            ]
            if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
                raise value_error(
                    f"matrix[{name!r}]", expected="rows of 1, 2, ... tasks", got=[len(row) for row in rows]
                )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunResult:
        """Build from a mapping read from JSON; unknown keys are ignored.

        Raises:
            TypeError: if an entry is of another type; the message names it.
            ValueError: if a required key is missing.
        """
        check_record(record)
        known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        known["tasks"] = check_items("record, tasks", known["tasks"], "a list of names", str)
        known["per_task"] = check_items("record, per_task", known.get("per_task", ()), "a list of mappings", Mapping)
        kl = check_items("record, kl", known.get("kl", ()), "a list of mappings", (KLRecord, Mapping))
        known["kl"] = tuple(k if isinstance(k, KLRecord) else KLRecord.of(k) for k in kl)
        drift = check_items("record, drift", known.get("drift", ()), "a list of mappings", (DriftRecord, Mapping))
        known["drift"] = tuple(d if isinstance(d, DriftRecord) else DriftRecord.of(d) for d in drift)
        matrix = check_mapping("record, matrix", known.get("matrix", {}), "a mapping", (list, tuple))
        known["matrix"] = {
            name: tuple(check_items("record, matrix", row, "rows of numbers") for row in rows)
            for name, rows in matrix.items()
        }
        try:
            return cls(**known)
        except (ValueError, TypeError) as error:
            raise type(error)(f"record, {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in a form that JSON can represent: NaN and infinities become None."""
        return dict(_json_value(asdict(self)))

    def save(self, path: str | Path) -> Path:
        """Write the numbers as JSON, atomically, and return the path."""
        return write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> RunResult:
        """Read a ``metrics.json``, or the one in the folder of a run; a manifest beside it must list it as it is.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it does not hold the results of a run, or was changed since they were written.
        """
        return _read_result(path, "path")


def load_results(paths: Sequence[str | Path]) -> list[RunResult]:
    """Read the results of several runs."""
    return [_read_result(path, "paths") for path in check_items("paths", paths, "a list of paths of runs")]


def check_result(result: Any) -> RunResult:
    """Return ``result`` if it is a :class:`RunResult`."""
    found: RunResult = check_instance("result", result, RunResult, "a RunResult", "Read one by RunResult.load(folder).")
    return found


def check_results(results: Any) -> tuple[RunResult, ...]:
    """Return a list of at least one :class:`RunResult` as a tuple."""
    found: tuple[RunResult, ...] = check_items("results", results, "a list of RunResult", RunResult)
    if not found:
        raise value_error("results", expected="at least one run", found="none")
    return found


def _check_numbers(record: Any) -> None:
    """Refuse entries of a record that are neither numbers nor None nor records themselves; a verdict is text."""
    for name, value in ((entry.name, getattr(record, entry.name)) for entry in fields(record)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name == "verdict" and value is not None:
            check_choice("verdict", value, VERDICTS)
        elif not number and value is not None and not isinstance(value, InformationRecord):
            raise type_error(name, expected="a number, or None", got=value)


def _read_result(path: Any, argument: str) -> RunResult:
    """Read the results in a file or in the folder of a run."""
    place = check_path(argument, path, "the folder of a finished run")
    file = place / _NAME if place.is_dir() else place
    if not file.is_file():
        raise FileNotFoundError(f"{argument}, run: expected the folder of a finished run, got no file {str(file)!r}.")
    known = read_manifest(file.parent) if file.name == _NAME else None
    if known is not None:
        check_file(file.parent, _NAME, known)
    try:
        return RunResult.of(read_json(file))
    except (ValueError, TypeError) as error:
        where, found = f"{argument}, file {str(file)!r}", str(error).rstrip(".")
        raise value_error(where, expected="the results of a run", found=found) from error


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_value(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
