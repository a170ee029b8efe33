"""What a run produced: numbers that go to JSON and back, and the arrays that figures are drawn from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import check_choice, type_error, value_error
from ..files import write_text

__all__ = ["Bands", "InformationRecord", "KLRecord", "Planes", "RunArrays", "RunResult", "load_results"]


@dataclass(frozen=True)
class InformationRecord:
    """Mutual information of weights and latent in nats: LIVI's value and the two sides of its audit."""

    livi: float
    lower: float
    upper: float
    ess: float | None = None


@dataclass(frozen=True)
class KLRecord:
    """KL of a task's posterior from the prior in nats, with lower and upper estimates; None where there is none."""

    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    analytic: float | None = None
    mutual_information: InformationRecord | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> KLRecord:
        """Build from what JSON holds."""
        known = {f.name: record.get(f.name) for f in fields(cls)}
        information = known["mutual_information"]
        if isinstance(information, Mapping):
            names = {f.name for f in fields(InformationRecord)}
            known["mutual_information"] = InformationRecord(**{k: v for k, v in information.items() if k in names})
        return cls(**known)


@dataclass(frozen=True)
class RunResult:
    """All numbers of one run; shares are in percent, the rest in nats or the units of the targets.

    Args:
        data: name of the stream.
        method: name of the method.
        seed: of the run.
        tasks: names of the tasks, in the order learnt.
        final: after the last task. For classes ``accuracy_task_given``, ``accuracy_task_inferred`` (by criterion),
            ``forgetting``, ``nll``, ``ece``, ``ood_auroc`` and what else there is; for values ``mse_task_given`` and
            the like.
        per_task: the same for each task.
        matrix: accuracy (classes) or mean squared error (values) with the task ``given`` and inferred by each
            criterion; row ``i`` holds tasks ``0..i`` after learning task ``i``.
        kl: of each task.
        kind: ``"classification"`` or ``"regression"``.
        ood: AUROC for each set of foreign inputs, by score.
        ood_fpr95: false-positive rate at 95 % recall, likewise.
        abstention: refusing inputs of no known task, by score; see :class:`bayeshnet.continual.Abstention`.
        seconds: ``train``, ``assess``, ``per_task``.
        versions: of the software.
        judged_on: ``"test"``, or ``"validation"`` where settings were being chosen.
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
        """Build from what JSON holds; keys that are not known are left out.

        Raises:
            ValueError: if a key that is needed is missing.
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
        """What JSON can hold: NaN and infinities become None."""
        plain = _plain(asdict(self))
        return dict(plain)

    def save(self, path: str | Path) -> Path:
        """Write as JSON, atomically."""
        return write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> RunResult:
        """Read ``metrics.json``, or the one in a run's folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is no result of a run.
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


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class Planes:
    """Predictions over a square of the plane.

    Args:
        entropy: predictive entropy under each task in nats ``(T, G, G)``; rows are the second coordinate, ascending.
        extent: lowest and highest coordinate of the square.
        inputs: training inputs of each task, ``(N_t, 2)`` each.
        targets: their classes, ``(N_t,)`` each.
        task: task inferred at each point ``(G, G)``, if at all.
    """

    entropy: Tensor
    extent: tuple[float, float]
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    task: Tensor | None = None


@dataclass(frozen=True)
class Bands:
    """Predictions along a line.

    Args:
        x: where ``(G,)``.
        mean: predictive mean under each task ``(T, G)``.
        std: predictive standard deviation ``(T, G)``, without the noise of the targets.
        inputs: training inputs of each task, ``(N_t,)`` each.
        targets: their values, ``(N_t,)`` each.
        truth: inputs and noise-free values of each task, if known: pairs of ``(M,)``.
    """

    x: Tensor
    mean: Tensor
    std: Tensor
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    truth: Sequence[tuple[Tensor, Tensor]] = ()


@dataclass(frozen=True)
class RunArrays:
    """What the figures of a run are drawn from; all of it optional, and what is missing is not drawn.

    Args:
        probs: predictive class probabilities of the test inputs with the task given ``(N, C)``.
        targets: their classes ``(N,)``.
        entropy_own: predictive entropy of test inputs under their own task ``(N,)``, in nats.
        entropy_other: the same under the other tasks ``(M,)``.
        entropy_foreign: least entropy over the tasks for each set of foreign inputs.
        weights: images ``(K, H, W)`` of generated first-layer weights, by task.
        planes: for inputs in the plane.
        bands: for inputs on a line.
        training: for each task ``step``, ``nll`` (nats per example) and ``kl`` (nats) while it was learnt.
    """

    probs: Tensor | None = None
    targets: Tensor | None = None
    entropy_own: Tensor | None = None
    entropy_other: Tensor | None = None
    entropy_foreign: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    planes: Planes | None = None
    bands: Bands | None = None
    training: Sequence[Mapping[str, Sequence[float]]] = ()
