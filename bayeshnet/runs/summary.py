"""The end of a run: what the records of its tasks come to."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import __version__, metrics
from ..continual import LearnerState
from ..rng import derive_seed
from ..tasks import TaskStream
from .experiment import Experiment
from .ood import FinalPredictions, abstention, detection
from .posterior_checks import certificate

__all__ = ["summarize_run"]

_Record = dict[str, Any]


def summarize_run(
    experiment: Experiment,
    stream: TaskStream,
    state: LearnerState,
    records: Sequence[_Record],
    predictions: FinalPredictions,
    drift: Sequence[float] = (),
) -> _Record:
    """All results of a run as JSON can hold them: percent for shares, nats for the rest.

    Args:
        experiment: what was run.
        stream: its tasks.
        state: after the last one.
        records: of the assessments after each.
        predictions: after the last one.
        drift: of the posterior of each task, if known.

    Returns:
        ``final``, ``per_task``, ``matrix`` (rows in time, columns of tasks), ``kl`` per task, ``ood`` and ``ood_fpr95``
        by set of foreign inputs and score, ``abstention``, ``seconds``, and what is needed to make them again:
        ``data``, ``method``, ``seed``, ``versions``.
    """
    found, refused = detection(predictions), abstention(predictions)
    summary = (_classes if stream.kind == "classification" else _values)(records, stream)
    summary["final"].update(_foreign(found, refused))
    if drift:
        summary["final"]["drift"] = _mean(drift[:-1]) if len(drift) > 1 else 0.0
        for entry, value in zip(summary["per_task"], drift, strict=True):
            entry["drift"] = value
    seed = derive_seed(experiment.seed, len(stream), 2)
    prior = state.posterior.prior(stream[0].train.x)
    kl = [certificate(state.posterior(t), prior, seed=derive_seed(seed, t)) for t in range(state.num_tasks)]
    seconds = {key: sum(r["seconds"][key] for r in records) for key in ("train", "assess")}
    return {
        "data": experiment.data,
        "method": experiment.method,
        "seed": experiment.seed,
        "kind": stream.kind,
        "judged_on": experiment.judge_on,
        "tasks": [task.name for task in stream],
        **summary,
        "kl": kl,
        "ood": found["auroc"],
        "ood_fpr95": found["fpr95"],
        "abstention": refused,
        "seconds": {**seconds, "per_task": [r["seconds"]["train"] for r in records]},
        "versions": {"bayeshnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _foreign(found: Mapping[str, Mapping[str, Mapping[str, float]]], refused: Mapping[str, Any]) -> _Record:
    """Means over the sets of foreign inputs; None where there are none."""

    def over_sets(numbers: Mapping[str, Mapping[str, float]], score: str) -> float | None:
        return _mean([scores[score] for scores in numbers.values()]) if numbers else None

    result = {
        "ood_auroc": over_sets(found["auroc"], "entropy"),
        "ood_auroc_density": over_sets(found["auroc"], "density"),
        "ood_fpr95": over_sets(found["fpr95"], "entropy"),
    }
    if refused:
        known = [value for value in refused["combined"]["auroc"].values() if value is not None]
        result["abstention_auroc"] = _mean(known) if known else None
        result["abstention_false_alarm"] = refused["combined"]["false_alarm"]
    return result


def _inference(last: _Record) -> _Record:
    """Shares of rightly inferred tasks, in percent, mean over tasks."""
    return {
        "task_inference": {c: _percent(shares) for c, shares in last["inference"].items()},
        "task_inference_batch": {c: _percent(shares) for c, shares in last["inference_batch"].items()},
        "task_inference_targets": _percent(last["inference_targets"]),
    }


def _classes(records: Sequence[_Record], stream: TaskStream) -> _Record:
    last = records[-1]
    given = _matrix([r["given"] for r in records])
    summary = metrics.summarize(100 * given)
    ahead = [r["ahead"] for r in records[:-1]]
    final = {
        "accuracy_task_given": _percent(last["given"]),
        "accuracy_task_inferred": {c: _percent(shares) for c, shares in last["inferred"].items()},
        **_inference(last),
        "during": summary.during,
        "average": summary.average,
        "backward_transfer": summary.backward_transfer,
        "forward_transfer": 100 * _forward(given, ahead, 1 / stream.num_outputs),
        "forgetting": summary.forgetting,
        "forgetting_from_best": summary.forgetting_from_best,
        "nll": _mean(last["nll"]),
        "brier": _mean(last["brier"]),
        "ece": 100 * last["ece_all"],
        "labels": {k: 100 * v if k in ("accuracy", "ece") else v for k, v in last["labels"].items()},
    }
    per_task = [
        {
            "accuracy_task_given": 100 * last["given"][t],
            "accuracy_during": 100 * records[t]["given"][t],
            "accuracy_task_inferred": {c: 100 * shares[t] for c, shares in last["inferred"].items()},
            "task_inference": {c: 100 * shares[t] for c, shares in last["inference"].items()},
            "nll": last["nll"][t],
            "brier": last["brier"][t],
            "ece": 100 * last["ece"][t],
        }
        for t in range(len(last["given"]))
    ]
    return {"final": final, "per_task": per_task, "matrix": _matrices(records, 100.0)}


def _values(records: Sequence[_Record], stream: TaskStream) -> _Record:
    last = records[-1]
    given = _matrix([r["given"] for r in records])
    summary = metrics.summarize(-given)  # less is better
    ahead = [-r["ahead"] for r in records[:-1]]
    spread = torch.tensor([-float(task.test.y.var(0, correction=0).mean()) for task in stream], dtype=torch.float64)
    final = {
        "mse_task_given": _mean(last["given"]),
        "rmse_task_given": math.sqrt(_mean(last["given"])),
        "mse_during": -summary.during,
        "mse_average": -summary.average,
        "mse_task_inferred": {c: _mean(errors) for c, errors in last["inferred"].items()},
        **_inference(last),
        "backward_transfer": summary.backward_transfer,
        "forward_transfer": _forward(-given, ahead, spread),
        "forgetting": summary.forgetting,
        "forgetting_from_best": summary.forgetting_from_best,
        "log_likelihood": _mean(last["log_likelihood"]),
        "coverage": _percent(last["coverage"]),
        "crps": _mean(last["crps"]),
    }
    per_task = [
        {
            "mse_task_given": last["given"][t],
            "mse_during": records[t]["given"][t],
            "mse_task_inferred": {c: errors[t] for c, errors in last["inferred"].items()},
            "task_inference": {c: 100 * shares[t] for c, shares in last["inference"].items()},
            "log_likelihood": last["log_likelihood"][t],
            "coverage": 100 * last["coverage"][t],
            "crps": last["crps"][t],
        }
        for t in range(len(last["given"]))
    ]
    return {"final": final, "per_task": per_task, "matrix": _matrices(records, 1.0)}


def _matrices(records: Sequence[_Record], factor: float) -> dict[str, list[list[float]]]:
    matrices = {"given": [[factor * v for v in r["given"]] for r in records]}
    for criterion in records[-1]["inferred"]:
        matrices[criterion] = [[factor * v for v in r["inferred"][criterion]] for r in records]
    return matrices


def _forward(matrix: Tensor, ahead: Sequence[float], baseline: Tensor | float) -> float:
    """Forward transfer, given what was reached on each next task before it was learnt."""
    full = matrix.clone()
    full.diagonal(1).copy_(torch.tensor(ahead, dtype=full.dtype))
    return float(metrics.forward_transfer(full, baseline))


def _matrix(rows: list[list[float]]) -> Tensor:
    full = torch.full((len(rows), len(rows)), float("nan"), dtype=torch.float64)
    for i, row in enumerate(rows):
        full[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return full


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(values: Sequence[float]) -> float:
    return 100 * _mean(values)
