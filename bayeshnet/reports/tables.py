"""The tables of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..deprecation import moved_names
from ..errors import check_choice
from .measures import by, criteria_of, final, judged, measures
from .records import RunResult, check_result
from .table import Cell, Column, Table

__all__ = [
    "alarm_table",
    "criterion_table",
    "drift_table",
    "kl_table",
    "matrix_table",
    "ood_table",
    "run_tables",
    "summary_table",
    "task_table",
]

__getattr__ = moved_names(
    __name__,
    {
        "foreign_table": "reports.ood_table",
    },
)

_Row = tuple[Cell | str, ...]
_SHOWN = ("entropy", "combined")


def summary_table(result: RunResult) -> Table:
    """Make the table of the run's numbers after its last task, one per row."""
    check_result(result)
    rows: list[_Row] = []
    for measure in measures([result]):
        value = measure.get(result)
        if value is not None:
            column = measure.column
            rows.append((column.name, Cell(float(value)).text(column.decimals), column.unit))
    title = f"{result.method} on {result.data}, seed {result.seed}: after {len(result.tasks)} tasks{judged(result)}"
    return Table(title, (Column("measure"), Column("value"), Column("unit")), tuple(rows))


def criterion_table(result: RunResult) -> Table:
    """Make the table of task inference: how often each criterion is right, and the resulting accuracy (error)."""
    check_result(result)
    classes = result.kind == "classification"
    key = "accuracy_task_inferred" if classes else "mse_task_inferred"
    outcome = Column("accuracy", "%") if classes else Column("MSE", "", 4)
    rows: list[_Row] = []
    for criterion in criteria_of([result]):
        keys = (("task_inference", criterion), ("task_inference_batch", criterion), (key, criterion))
        rows.append((criterion.replace("_", " "), *(Cell(final(*path)(result)) for path in keys)))
    columns = (Column("criterion"), Column("right task", "%"), Column("in batches", "%"), outcome)
    note = "right task: of single inputs; in batches: ten inputs of one task decide together."
    note += _combination(result)
    return _without_gaps(Table("Task inferred by", columns, tuple(rows), note))


def _combination(result: RunResult) -> str:
    """Return a sentence on the densities of the combined score, and what decided for them."""
    found = result.final.get("combination")
    keys = ("tied", "evidence_weight", "entropy_weight", "log_tied", "log_per_task")
    if not isinstance(found, Mapping) or not all(isinstance(found.get(key), (int, float)) for key in keys):
        return ""
    tied, a, b, *evidence = (found[key] for key in keys)
    return (
        f" combined: {a:.3g} times the log-density {'with one covariance for all tasks' if tied else 'of each task'} "
        f"minus {b:.3g} times the entropy; log evidence of the tasks of examples set aside {evidence[0]:.4g} nats with "
        f"one covariance, {evidence[1]:.4g} with a density per task.{_own_weights(found)}"
    )


def _own_weights(found: Mapping[str, Any]) -> str:
    """Return a sentence on weights of each task's own and on what decided for or against them."""
    shared, own = (found.get(f"log_left_out_{kind}") for kind in ("shared", "own"))
    if not isinstance(shared, (int, float)) or not isinstance(own, (int, float)) or shared == own == 0:
        return ""
    kind = "Each task has weights of its own around these" if found.get("own") else "All tasks share the weights"
    return (
        f" {kind}; log-probability of the tasks of examples left out {shared:.4g} nats with shared weights, "
        f"{own:.4g} with each task's own."
    )


def _without_gaps(table: Table) -> Table:
    """Return the table without empty columns."""
    used = [
        i
        for i, column in enumerate(table.columns)
        if not table.rows or not all(isinstance(row[i], Cell) and row[i] == Cell(None) for row in table.rows)
    ]
    rows = tuple(tuple(row[i] for i in used) for row in table.rows)
    return Table(table.title, tuple(table.columns[i] for i in used), rows, table.note)


def task_table(result: RunResult) -> Table:
    """Make the table of the tasks after the last one, with their accuracy (error) just after they were learned."""
    check_result(result)
    drift = (Column("drift", "MMD²", 3), ("drift",))
    columns: list[tuple[Column, tuple[str, ...]]] = (
        [
            (Column("during", "%"), ("accuracy_during",)),
            (Column("final", "%"), ("accuracy_task_given",)),
            *((Column(c, "%"), ("accuracy_task_inferred", c)) for c in _SHOWN),
            (Column("NLL", "nats", 3), ("nll",)),
            (Column("ECE", "%"), ("ece",)),
            drift,
        ]
        if result.kind == "classification"
        else [
            (Column("during", "MSE", 4), ("mse_during",)),
            (Column("final", "MSE", 4), ("mse_task_given",)),
            *((Column(c, "%"), ("task_inference", c)) for c in _SHOWN),
            (Column("log-lik.", "nats", 2), ("log_likelihood",)),
            drift,
        ]
    )
    rows: list[_Row] = []
    for name, record in zip(result.tasks, result.per_task, strict=False):
        rows.append((name, *(Cell(_at_path(record, keys)) for _, keys in columns)))
    note = (
        "during: just after learning the task; final: after the last one; both with the task given. entropy, "
        f"combined: {'accuracy with the task' if result.kind == 'classification' else 'share of inputs whose task is'} "
        "inferred so."
    )
    return Table("Tasks", (Column("task"), *(column for column, _ in columns)), tuple(rows), note)


def _at_path(record: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def matrix_table(result: RunResult, criterion: str = "given") -> Table:
    """Make the table of the accuracy (error) on each task after each task.

    Args:
        result: numbers of a run.
        criterion: ``"given"``, or a criterion of task inference.
    """
    check_result(result)
    check_choice("criterion", criterion, result.matrix)
    unit, decimals = ("%", 1) if result.kind == "classification" else ("", 4)
    rows: tuple[_Row, ...] = tuple(
        (f"after {name}", *(Cell(row[j] if j < len(row) else None) for j in range(len(result.tasks))))
        for name, row in zip(result.tasks, result.matrix[criterion], strict=False)
    )
    what = "Accuracy" if result.kind == "classification" else "Mean squared error"
    how = "task given" if criterion == "given" else f"task inferred {by(criterion)}"
    return Table(f"{what}, {how}", (Column(""), *(Column(name, unit, decimals) for name in result.tasks)), rows)


def ood_table(result: RunResult) -> Table:
    """Make the table of OOD inputs, a column per set: detection by each score, and abstention."""
    check_result(result)
    sets = list(result.ood)
    rows: list[_Row] = []
    for what, numbers in (("AUROC", result.ood), ("FPR95", result.ood_fpr95)):
        for score in next(iter(numbers.values()), {}):
            rows.append((f"{what} {by(score)}", *(Cell(numbers.get(name, {}).get(score)) for name in sets)))
    note, refused = "", result.abstention.get("combined") or {}
    if refused:
        rows.append(("refused", *(Cell(refused["refused"].get(name)) for name in sets)))
        note = (
            f"refused: combined score below the threshold that {100 - result.abstention['asked']:g} % of each task's "
            f"{result.abstention['calibrated_on']} inputs reach; of the {result.judged_on} inputs "
            f"{refused['false_alarm']:.1f} % are refused."
        )
    return Table(
        "Out-of-distribution inputs", (Column("measure"), *(Column(name, "%") for name in sets)), tuple(rows), note
    )


def kl_table(result: RunResult) -> Table:
    """Make the table of the KL of each task's posterior from the prior in nats, with intervals and verdicts."""
    check_result(result)
    columns = ("KL", "lower", "upper", "analytic", "LIVI", "MI low", "MI high")
    rows: list[_Row] = []
    for name, kl in zip(result.tasks, result.kl, strict=False):
        information = kl.mutual_information
        sides = (information.livi, information.lower, information.upper) if information else (None, None, None)
        numbers = (kl.value, kl.lower, kl.upper, kl.analytic, *sides)
        rows.append((name, *(Cell(v) for v in numbers), kl.verdict or "-"))
    note = (
        "lower and upper: 95 % interval. KL = analytic part - mutual information (MI) of weights and latent, which "
        "lies between low and high in expectation; LIVI: its linearized estimate."
    )
    heads = (Column("task"), *(Column(c, "nats") for c in columns), Column("verdict"))
    return Table("Divergence from the prior", heads, tuple(rows), note)


def drift_table(result: RunResult) -> Table:
    """Make the table of the posteriors' drift: just after each task (then) beside the end."""
    check_result(result)
    change = Column("predictions", "TV" if result.kind == "classification" else "std", 3)
    columns = (*(Column(c, "nats") for c in ("KL", "lower", "upper", "at least")), Column("classifier", "%"))
    rows: list[_Row] = []
    for name, found in zip(result.tasks, result.drift, strict=False):
        told = None if found.accuracy is None else 100 * found.accuracy
        kl = (found.kl, found.lower, found.upper, found.at_least)
        numbers = (*kl, told, found.p_value, found.predictions, found.mmd)
        rows.append((name, *(Cell(v) for v in numbers), found.verdict or "-"))
    note = (
        "KL of then from now with its 95 % interval, and what it is at least whatever the verdict; classifier: share "
        "of draws it tells apart, 50 % if nothing moved, and the probability p of that share by chance; predictions: "
        "their mean total variation, or change in standard deviations."
    )
    heads = (Column("task"), *columns, Column("p", "", 3), change, Column("MMD²", "", 3), Column("verdict"))
    return Table("Drift of the posteriors since their task", heads, tuple(rows), note)


def alarm_table(result: RunResult) -> Table:
    """Make the table of a run's alarms."""
    check_result(result)
    return Table("Alarms", (Column("alarm"), Column("says")), tuple(result.alarms.items()))


def run_tables(result: RunResult) -> list[Table]:
    """Make all tables of a run's numbers that are not empty."""
    check_result(result)
    tables = [summary_table(result), criterion_table(result), task_table(result)]
    tables += [matrix_table(result, c) for c in ("given", "combined") if c in result.matrix]
    tables.append(ood_table(result))
    if any(kl.value is not None for kl in result.kl):
        tables.append(kl_table(result))
    tables.append(drift_table(result))
    return [table for table in tables if table.rows]
