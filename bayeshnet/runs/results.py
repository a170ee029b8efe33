"""The end of a run: what the records of its tasks come to, certificates of the KL, out-of-distribution detection."""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor

from .. import __version__, metrics
from ..continual import CRITERIA, Learner, LearnerState, derive_seed
from ..tasks import TaskStream
from .certificate import certificate
from .experiment import Experiment

__all__ = ["summarise_run"]


def summarise_run(
    experiment: Experiment, stream: TaskStream, state: LearnerState, records: list[dict[str, Any]]
) -> dict[str, Any]:
    """All results of a run as JSON can hold them: percent for shares, nats for the rest.

    Returns:
        ``final``, ``per_task``, ``matrix`` (rows in time, columns of tasks), ``kl`` per task, ``ood``, ``seconds``, and
        what is needed to make them again: ``data``, ``method``, ``seed``, ``versions``.
    """
    seed = derive_seed(experiment.seed, len(stream), 2)
    ood = detect_outliers(experiment.learner, state, stream, seed) if stream.outliers else {}
    summary = _classes(records, ood) if stream.kind == "classification" else _values(records, ood)
    posterior, like = state.posterior, stream[0].train.x
    prior = posterior.prior(like)
    kl = [certificate(posterior(t), prior, seed=derive_seed(seed, t)) for t in range(state.num_tasks)]
    seconds = {key: sum(r["seconds"][key] for r in records) for key in ("train", "assess")}
    return {
        "data": experiment.data,
        "method": experiment.method,
        "seed": experiment.seed,
        "kind": stream.kind,
        "tasks": [task.name for task in stream],
        **summary,
        "kl": kl,
        "ood": ood,
        "seconds": {**seconds, "per_task": [r["seconds"]["train"] for r in records]},
        "versions": {"bayeshnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def detect_outliers(
    learner: Learner, state: LearnerState, stream: TaskStream, seed: int
) -> dict[str, dict[str, float]]:
    """AUROC in percent of telling foreign inputs from test inputs, for each set of foreign inputs.

    ``entropy`` (for values: variance) is the least over tasks, ``density`` the negative largest log-density over tasks.
    """
    known = _foreignness(learner, state, torch.cat([task.test.x for task in stream[: state.num_tasks]]), seed)
    result = {}
    for name, x in stream.outliers.items():
        foreign = _foreignness(learner, state, x, seed)
        result[name] = {key: 100 * float(metrics.auroc(known[key], foreign[key])) for key in known}
    return result


def _foreignness(learner: Learner, state: LearnerState, x: Tensor, seed: int) -> dict[str, Tensor]:
    prediction = learner.predict_each(state, x, seed=seed)
    return {key: -prediction.scores(key).amax(dim=-1) for key in ("entropy", "density")}


def _classes(records: list[dict[str, Any]], ood: dict[str, dict[str, float]]) -> dict[str, Any]:
    last = records[-1]
    given = _matrix([r["given"] for r in records])
    final = {
        "accuracy_task_given": _percent(last["given"]),
        "accuracy_task_inferred": {c: _percent(last["inferred"][c]) for c in CRITERIA},
        "task_inference": {c: _percent(last["inference"][c]) for c in CRITERIA},
        "during": _percent([r["given"][-1] for r in records]),
        "forgetting": 100 * float(metrics.forgetting(given)),
        "nll": _mean(last["nll"]),
        "brier": _mean(last["brier"]),
        "ece": 100 * last["ece_all"],
        "ood_auroc": _mean([scores["entropy"] for scores in ood.values()]) if ood else None,
    }
    per_task = [
        {
            "accuracy_task_given": 100 * last["given"][t],
            "accuracy_during": 100 * records[t]["given"][t],
            "accuracy_task_inferred": {c: 100 * last["inferred"][c][t] for c in CRITERIA},
            "task_inference": {c: 100 * last["inference"][c][t] for c in CRITERIA},
            "nll": last["nll"][t],
            "ece": 100 * last["ece"][t],
        }
        for t in range(len(last["given"]))
    ]
    matrix = {"given": [[100 * v for v in r["given"]] for r in records]}
    for criterion in CRITERIA:
        matrix[criterion] = [[100 * v for v in r["inferred"][criterion]] for r in records]
    return {"final": final, "per_task": per_task, "matrix": matrix}


def _values(records: list[dict[str, Any]], ood: dict[str, dict[str, float]]) -> dict[str, Any]:
    last = records[-1]
    final = {
        "mse_task_given": _mean(last["given"]),
        "mse_during": _mean([r["given"][-1] for r in records]),
        "mse_task_inferred": {c: _mean(last["inferred"][c]) for c in CRITERIA},
        "task_inference": {c: _percent(last["inference"][c]) for c in CRITERIA},
        "forgetting": _mean(last["given"]) - _mean([r["given"][-1] for r in records]),
        "ood_auroc": _mean([scores["entropy"] for scores in ood.values()]) if ood else None,
    }
    per_task = [
        {
            "mse_task_given": last["given"][t],
            "mse_during": records[t]["given"][t],
            "mse_task_inferred": {c: last["inferred"][c][t] for c in CRITERIA},
            "task_inference": {c: 100 * last["inference"][c][t] for c in CRITERIA},
        }
        for t in range(len(last["given"]))
    ]
    matrix = {"given": [list(r["given"]) for r in records]}
    for criterion in CRITERIA:
        matrix[criterion] = [list(r["inferred"][criterion]) for r in records]
    return {"final": final, "per_task": per_task, "matrix": matrix}


def _matrix(rows: list[list[float]]) -> Tensor:
    full = torch.full((len(rows), len(rows)), float("nan"), dtype=torch.float64)
    for i, row in enumerate(rows):
        full[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return full


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _percent(values: list[float]) -> float:
    return 100 * _mean(values)
