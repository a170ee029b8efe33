"""Measures of a run as columns of tables: how each is read from the results, and which direction is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .records import RunResult
from .table import Column

__all__ = ["Measure", "account_measures", "by", "criteria_of", "final", "judged", "measures"]


def judged(result: RunResult) -> str:
    """Return an addition to a title if the examples are not test examples."""
    return "" if result.judged_on == "test" else f", judged on {result.judged_on} examples"


@dataclass(frozen=True)
class Measure:
    """A number of a run as a column of a table.

    Args:
        column: heading, unit and decimals.
        get: reads the number from the results; returns None if it is missing.
        larger_is_better: None if no direction is better.
        compared: True if tables of several runs show it.
    """

    column: Column
    get: Callable[[RunResult], Any]
    larger_is_better: bool | None = True
    compared: bool = False


def final(*keys: str) -> Callable[[RunResult], Any]:
    """Make a function that reads a number from ``result.final`` by a path of keys."""

    def get(result: RunResult) -> Any:
        value: Any = result.final
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None

    return get


def by(criterion: str) -> str:
    """Return the name of a criterion of task inference in headings."""
    return "combined" if criterion == "combined" else f"by {criterion.replace('_', ' ')}"


def criteria_of(results: Sequence[RunResult]) -> list[str]:
    """Return the criteria of task inference in any of the runs, in their order."""
    names: dict[str, None] = {}
    for result in results:
        for key in ("accuracy_task_inferred", "mse_task_inferred", "task_inference"):
            names.update(dict.fromkeys(result.final.get(key) or {}))
    return list(names)


def _seconds(result: RunResult) -> Any:
    each = result.seconds.get("per_task")
    return sum(each) / len(each) if each else None


_COMPARED = ("entropy", "combined")
_COMMON = (
    Measure(Column("OOD AUROC", "%"), final("ood_auroc"), compared=True),
    Measure(Column("OOD FPR95", "%"), final("ood_fpr95"), False),
    Measure(Column("abstention AUROC", "%"), final("abstention_auroc")),
    Measure(Column("false alarms", "%"), final("abstention_false_alarm"), None),
    Measure(Column("posterior drift", "MMD²", 3), final("drift"), None),
    Measure(Column("negative ELBO", "nats", 1), final("negative_elbo"), False),
    Measure(Column("negative ELBO, prior", "nats", 1), final("negative_elbo_prior"), None),
    Measure(Column("time per task", "s", 1), _seconds, None, compared=True),
)


def _classes(criteria: Sequence[str]) -> list[Measure]:
    return [
        Measure(Column("task given", "%"), final("accuracy_task_given"), compared=True),
        *(
            Measure(Column(by(c), "%"), final("accuracy_task_inferred", c), compared=c in (*_COMPARED, "softmax"))
            for c in criteria
        ),
        Measure(Column("average over time", "%"), final("average")),
        Measure(Column("forgetting", "points", 2), final("forgetting"), False, compared=True),
        Measure(Column("forgetting since learning", "points", 2), final("forgetting_during"), False),
        Measure(Column("backward transfer", "points", 2), final("backward_transfer")),
        Measure(Column("forward transfer", "points", 2), final("forward_transfer")),
        Measure(Column("NLL", "nats", 3), final("nll"), False, compared=True),
        Measure(Column("NLL of ten", "nats", 3), final("joint_nll"), False),
        Measure(Column("Brier", "", 3), final("brier"), False),
        Measure(Column("ECE", "%"), final("ece"), False, compared=True),
    ]


def _values(criteria: Sequence[str]) -> list[Measure]:
    return [
        Measure(Column("RMSE, task given", "", 4), final("rmse_task_given"), False),
        Measure(Column("MSE, task given", "", 4), final("mse_task_given"), False, compared=True),
        *(
            Measure(Column(f"MSE, {by(c)}", "", 4), final("mse_task_inferred", c), False, compared=c in _COMPARED)
            for c in criteria
        ),
        *(
            Measure(Column(f"task, {by(c)}", "%"), final("task_inference", c), compared=c in _COMPARED)
            for c in criteria
        ),
        Measure(Column("task, by targets", "%"), final("task_inference_targets")),
        Measure(Column("forgetting", "MSE", 4), final("forgetting"), False, compared=True),
        Measure(Column("forgetting since learning", "MSE", 4), final("forgetting_during"), False),
        Measure(Column("backward transfer", "MSE", 4), final("backward_transfer")),
        Measure(Column("forward transfer", "MSE", 4), final("forward_transfer")),
        Measure(Column("log-likelihood", "nats", 3), final("log_likelihood"), compared=True),
        Measure(Column("coverage of 95 %", "%"), final("coverage"), None, compared=True),
        Measure(Column("CRPS", "", 4), final("crps"), False, compared=True),
    ]


def measures(results: Sequence[RunResult]) -> list[Measure]:
    """Return all measures for runs of one kind."""
    criteria = criteria_of(results)
    return [*(_classes if results[0].kind == "classification" else _values)(criteria), *_COMMON, *account_measures()]


def account_measures() -> list[Measure]:
    """Return the measures of the predictive over all classes seen, and of what a method used and keeps."""
    return [
        Measure(Column("last, all classes", "%"), _last_accuracy),
        Measure(Column("average incremental", "%"), final("average_incremental_accuracy")),
        Measure(Column("NLL, all classes", "nats", 3), final("nll_all_classes"), False),
        Measure(Column("Brier, all classes", "", 3), final("brier_all_classes"), False),
        Measure(Column("ECE, all classes", "%"), final("ece_all_classes"), False),
        Measure(Column("examples stored", "", 0), final("examples_stored"), None),
        Measure(Column("stored", "MB", 2), _megabytes, None),
        Measure(Column("gradient steps", "", 0), final("gradient_steps"), None),
        Measure(Column("passes", "", 1), final("passes"), None),
        Measure(Column("beta", "", 2), final("beta"), None),
    ]


def _last_accuracy(result: RunResult) -> Any:
    """Return the accuracy over all classes seen, under its name in earlier versions where it has no other."""
    value = final("last_accuracy")(result)
    return final("labels", "accuracy")(result) if value is None else value


def _megabytes(result: RunResult) -> Any:
    count = final("bytes_stored")(result)
    return None if count is None else count / 1e6
