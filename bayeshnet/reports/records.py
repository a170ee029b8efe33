"""Results of a run as frozen records that are written to JSON and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..deprecation import moved_names
from ..errors import check_choice, type_error, value_error
from ..files import write_text

__all__ = ["InformationRecord", "KLRecord", "RunResult", "load_results"]

__getattr__ = moved_names(
    __name__,
    {
        "Bands": "reports.Bands",
        "Planes": "reports.Planes",
        "RunArrays": "reports.FigureData",
    },
)


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
class RunResult:
    """All numbers of one run: fractions in percent, the rest in nats or the units of the targets.

    Args:
        data: name of the stream.
        method: name of the method.
        seed: seed of the run.
        tasks: names of the tasks, in the order in which they were learned.
        final: numbers after the last task. For classes ``accuracy_task_given``, ``accuracy_task_inferred`` (by
            criterion), ``forgetting``, ``nll``, ``ece``, ``ood_auroc`` and others; for values ``mse_task_given`` and
            the corresponding ones.
        per_task: the same for each task.
        matrix: accuracy (classes) or mean squared error (values) with the task ``given`` and inferred by each
            criterion; row ``i`` holds tasks ``0..i`` after learning task ``i``.
        kl: KL of the posterior of each task from the prior.
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

    def __post_init__(self) -> None:
        """Check the kind, the split and the shape of the matrices."""
        check_choice("judged_on", self.judged_on, ("test", "validation"))
        check_choice("kind", self.kind, ("classification", "regression"))
        for name, rows in self.matrix.items():
            if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
                raise value_error(
                    f"matrix[{name!r}]", expected="rows of 1, 2, ... tasks", got=[len(row) for row in rows]
                )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> RunResult:
        """Build from a mapping read from JSON; unknown keys are ignored.

        Raises:
            ValueError: if a required key is missing.
        """
        if not isinstance(record, Mapping):
            raise type_error("record", expected="a mapping", got=record)
        missing = [name for name in ("data", "method", "seed", "tasks", "final") if name not in record]
        if missing:
            raise value_error("record", expected="the results of a run", found=f"no {', '.join(missing)} in it")
        known = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        known["tasks"] = tuple(known["tasks"])
        known["per_task"] = tuple(known.get("per_task", ()))
        known["kl"] = tuple(k if isinstance(k, KLRecord) else KLRecord.of(k) for k in known.get("kl", ()))
        matrix = known.get("matrix", {})
        known["matrix"] = {name: tuple(tuple(row) for row in rows) for name, rows in matrix.items()}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers in a form that JSON can represent: NaN and infinities become None."""
        return dict(_json_value(asdict(self)))

    def save(self, path: str | Path) -> Path:
        """Write the numbers as JSON, atomically, and return the path."""
        return write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> RunResult:
        """Read a ``metrics.json``, or the one in the folder of a run.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it does not hold the results of a run.
        """
        path = Path(path)
        file = path / "metrics.json" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"run: expected the folder of a finished run, got no file {str(file)!r}.")
        try:
            return cls.of(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise value_error(f"file {str(file)!r}", expected="the results of a run", found=str(error)) from error


def load_results(paths: Sequence[str | Path]) -> list[RunResult]:
    """Read the results of several runs."""
    return [RunResult.load(path) for path in paths]


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_value(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
