"""The tables of one run, and of a comparison of runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import value_error
from .records import RunResult
from .table import Cell, Column, Table

__all__ = [
    "comparison_table",
    "criterion_table",
    "kl_table",
    "matrix_table",
    "run_tables",
    "summary_table",
    "task_table",
]

CRITERIA = {
    "entropy": "entropy",
    "confidence": "confidence",
    "agreement": "agreement",
    "mutual_information": "mutual information",
    "density": "density",
    "combined": "combined",
}
"""Names of the criteria of task inference, as shown."""


def _by(criterion: str) -> str:
    return "combined" if criterion == "combined" else f"by {CRITERIA.get(criterion, criterion)}"


_Row = tuple[Cell | str, ...]


@dataclass(frozen=True)
class _Measure:
    """A number of a run: its column, where it is found, and which direction is better."""

    column: Column
    get: Callable[[RunResult], Any]
    larger_is_better: bool | None = True


def _final(*keys: str) -> Callable[[RunResult], Any]:
    def get(result: RunResult) -> Any:
        value: Any = result.final
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return get


def _seconds(result: RunResult) -> Any:
    each = result.seconds.get("per_task")
    return sum(each) / len(each) if each else None


_CLASSES = (
    _Measure(Column("task given", "%"), _final("accuracy_task_given")),
    *(_Measure(Column(_by(c), "%"), _final("accuracy_task_inferred", c)) for c in CRITERIA),
    _Measure(Column("forgetting", "points", 2), _final("forgetting"), False),
    _Measure(Column("NLL", "nats", 3), _final("nll"), False),
    _Measure(Column("ECE", "%"), _final("ece"), False),
    _Measure(Column("OOD AUROC", "%"), _final("ood_auroc")),
    _Measure(Column("time per task", "s", 1), _seconds, None),
)
_VALUES = (
    _Measure(Column("MSE, task given", "", 4), _final("mse_task_given"), False),
    *(_Measure(Column(f"MSE, {_by(c)}", "", 4), _final("mse_task_inferred", c), False) for c in CRITERIA),
    *(_Measure(Column(f"task, {_by(c)}", "%"), _final("task_inference", c)) for c in CRITERIA),
    _Measure(Column("forgetting", "MSE", 4), _final("forgetting"), False),
    _Measure(Column("OOD AUROC", "%"), _final("ood_auroc")),
    _Measure(Column("time per task", "s", 1), _seconds, None),
)


def _measures(result: RunResult) -> tuple[_Measure, ...]:
    return _CLASSES if result.kind == "classification" else _VALUES


def summary_table(result: RunResult) -> Table:
    """One number a row: what the run came to after its last task."""
    rows: list[_Row] = []
    for measure in _measures(result):
        value = measure.get(result)
        if value is not None:
            column = measure.column
            rows.append((column.name, Cell(float(value)).text(column.decimals), column.unit))
    title = f"{result.method} on {result.data}, seed {result.seed}: after {len(result.tasks)} tasks"
    return Table(title, (Column("measure"), Column("value"), Column("unit")), tuple(rows))


def criterion_table(result: RunResult) -> Table:
    """How each criterion infers the task, and what accuracy (error) comes of it."""
    classes = result.kind == "classification"
    key = "accuracy_task_inferred" if classes else "mse_task_inferred"
    outcome = Column("accuracy", "%") if classes else Column("MSE", "", 4)
    rows: list[_Row] = []
    for criterion, name in CRITERIA.items():
        task = _final("task_inference", criterion)(result)
        value = _final(key, criterion)(result)
        if task is not None or value is not None:
            rows.append((name, Cell(task), Cell(value)))
    return Table("Task inferred by", (Column("criterion"), Column("right task", "%"), outcome), tuple(rows))


def task_table(result: RunResult) -> Table:
    """One row per task, after the last one, beside its accuracy (error) just after it was learnt."""
    classes = result.kind == "classification"
    columns: list[tuple[Column, tuple[str, ...]]] = (
        [
            (Column("during", "%"), ("accuracy_during",)),
            (Column("final", "%"), ("accuracy_task_given",)),
            *((Column(_by(c), "%"), ("accuracy_task_inferred", c)) for c in ("entropy", "density", "combined")),
            (Column("NLL", "nats", 3), ("nll",)),
            (Column("ECE", "%"), ("ece",)),
        ]
        if classes
        else [
            (Column("MSE during", "", 4), ("mse_during",)),
            (Column("MSE final", "", 4), ("mse_task_given",)),
            *((Column(f"task, {_by(c)}", "%"), ("task_inference", c)) for c in ("entropy", "density", "combined")),
        ]
    )
    rows: list[_Row] = []
    for name, record in zip(result.tasks, result.per_task, strict=False):
        cells = []
        for _, keys in columns:
            value: Any = record
            for key in keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            cells.append(Cell(value))
        rows.append((name, *cells))
    note = "during: just after learning the task; final: after the last one; both with the task given."
    return Table("Tasks", (Column("task"), *(column for column, _ in columns)), tuple(rows), note)


def matrix_table(result: RunResult, criterion: str = "given") -> Table:
    """Accuracy (error) on each task after each task.

    Args:
        result: of a run.
        criterion: ``"given"``, or a criterion of task inference.
    """
    if criterion not in result.matrix:
        raise value_error("criterion", "one of " + ", ".join(result.matrix), criterion)
    unit, decimals = ("%", 1) if result.kind == "classification" else ("", 4)
    rows: tuple[_Row, ...] = tuple(
        (f"after {name}", *(Cell(row[j] if j < len(row) else None) for j in range(len(result.tasks))))
        for name, row in zip(result.tasks, result.matrix[criterion], strict=False)
    )
    what = "Accuracy" if result.kind == "classification" else "Mean squared error"
    how = "task given" if criterion == "given" else f"task inferred {_by(criterion)}"
    return Table(f"{what}, {how}", (Column(""), *(Column(name, unit, decimals) for name in result.tasks)), rows)


def kl_table(result: RunResult) -> Table:
    """KL of each task's posterior from the prior in nats, with its two-sided audit."""
    columns = (
        "KL",
        "lower",
        "upper",
        "analytic part",
        "information (LIVI)",
        "information, lower",
        "information, upper",
    )
    rows: list[_Row] = []
    for name, kl in zip(result.tasks, result.kl, strict=False):
        information = kl.mutual_information
        sides = (information.livi, information.lower, information.upper) if information else (None, None, None)
        rows.append((name, *(Cell(v) for v in (kl.value, kl.lower, kl.upper, kl.analytic, *sides))))
    note = (
        "KL = analytic part - mutual information (MI) of weights and latent; lower and upper: audit on the same draws."
    )
    return Table(
        "Divergence from the prior", (Column("task"), *(Column(c, "nats") for c in columns)), tuple(rows), note
    )


def run_tables(result: RunResult) -> list[Table]:
    """All tables of a run that have something to show."""
    tables = [summary_table(result), criterion_table(result), task_table(result)]
    tables += [matrix_table(result, c) for c in ("given", "combined") if c in result.matrix]
    if any(kl.value is not None for kl in result.kl):
        tables.append(kl_table(result))
    return [table for table in tables if table.rows]


def comparison_table(results: Sequence[RunResult], label: Callable[[RunResult], str] | None = None) -> Table:
    """Compare runs of one stream: one row per method, mean and standard deviation over its runs; the best mean is bold.

    Args:
        results: of runs of one data set.
        label: what is a row; by default the method.

    Raises:
        ValueError: if there is no run, or runs are of different data sets.
    """
    if not results:
        raise value_error("results", "at least one run", "none", said=True)
    names = {(r.data, r.kind) for r in results}
    if len(names) > 1:
        got = ", ".join(sorted(data for data, _ in names))
        raise value_error("results", "runs of one data set", got, "Compare them one data set at a time.", said=True)
    label = label or (lambda result: result.method)
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(label(result), []).append(result)
    columns, entries = [], []
    for measure in _measures(results[0]):
        cells = [_over_seeds([measure.get(r) for r in runs]) for runs in groups.values()]
        if any(cell.value is not None for cell in cells):
            columns.append(measure.column)
            entries.append(_mark_best(cells, measure.larger_is_better))
    rows: tuple[_Row, ...] = tuple(
        (name, str(len(runs)), *(cells[i] for cells in entries)) for i, (name, runs) in enumerate(groups.items())
    )
    seeds = sorted({r.seed for r in results})
    note = (
        f"Mean ± standard deviation over seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else f"Seed {seeds[0]}."
    )
    return Table(
        f"{results[0].data}, {len(results[0].tasks)} tasks", (Column("method"), Column("runs"), *columns), rows, note
    )


def _over_seeds(values: Sequence[Any]) -> Cell:
    numbers = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not numbers:
        return Cell(None)
    return Cell(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None)


def _mark_best(cells: Sequence[Cell], larger: bool | None) -> list[Cell]:
    values = [cell.value for cell in cells if cell.value is not None]
    if larger is None or len(set(values)) < 2:
        return list(cells)
    best = max(values) if larger else min(values)
    return [Cell(cell.value, cell.std, cell.value == best) for cell in cells]
