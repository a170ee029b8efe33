"""Comparison of several runs: tables grouped by method, figures, and a page with both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..checks import check_callable, check_text, refusing
from ..deprecation import moved_names
from ..errors import value_error
from .figures import ReportFigure
from .html import report_html
from .learning import comparison_chart, floor
from .measures import account_measures, final, judged, measures
from .records import RunResult, check_results
from .repetitions import find_repetitions
from .style import new_figure, png, shown, styled, task_colors
from .table import Cell, Column, Table

__all__ = [
    "account_table",
    "comparison_curves",
    "comparison_figures",
    "comparison_page",
    "comparison_table",
    "comparison_tables",
]

__getattr__ = moved_names(
    __name__,
    {
        "comparison_pictures": "reports.comparison_figures",
    },
)


def comparison_table(results: Sequence[RunResult], label: Callable[[RunResult], str] | None = None) -> Table:
    """Compare runs of one stream: mean and standard deviation over runs of a method; the best mean is bold.

    Only runs that are equal in all but the seed are averaged. A method that was run with several settings has a row for
    each, which says what differs; the same seed again is no other run, and is counted once.

    Args:
        results: results of runs on one data set.
        label: returns the name of a run's row. By default the method.

    Raises:
        ValueError: if there is no run, or runs are of different data sets or judged on different splits.
    """
    results = check_results(results)
    if label is not None:
        check_callable("label", label, "a function of a RunResult, or None")
    if len({(r.data, r.kind) for r in results}) > 1:
        got = ", ".join(sorted({r.data for r in results}))
        raise value_error(
            "results", expected="runs of one data set", found=got, hint="Compare them one data set at a time."
        )
    if len({r.judged_on for r in results}) > 1:
        got = "some judged on test and some on validation examples"
        raise value_error("results", expected="runs judged alike", found=got, hint="Compare them one split at a time.")
    repetitions = find_repetitions(results, None if label is None else _named(label))
    groups = repetitions.rows
    columns, entries = [], []
    for measure in measures(results):
        cells = [_over_seeds([measure.get(r) for r in runs]) for runs in groups.values()]
        if measure.compared and any(cell.value is not None for cell in cells):
            columns.append(measure.column)
            entries.append(_mark_best(cells, measure.larger_is_better))
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (name, str(len(runs)), *(cells[i] for cells in entries)) for i, (name, runs) in enumerate(groups.items())
    )
    counts = " or ".join(map(str, sorted({len(r.tasks) for r in results})))
    title = f"{results[0].data}, {counts} tasks{judged(results[0])}"
    return Table(title, (Column("method"), Column("runs"), *columns), rows, _note(results, groups) + repetitions.note())


def _named(label: Callable[[RunResult], str]) -> Callable[[RunResult], str]:
    """Return a function that gives the names of rows, and refuses those that are no texts."""
    named = refusing("label", label, "a function of a RunResult that returns a text")
    return lambda result: check_text("label", named(result), "a function of a RunResult that returns a text")


def _note(results: Sequence[RunResult], groups: Mapping[str, Sequence[RunResult]]) -> str:
    seeds = sorted({r.seed for r in results})
    listed = ", ".join(map(str, seeds))
    if any(len(runs) > 1 for runs in groups.values()):
        note = f"Mean ± standard deviation over seeds {listed}."
    else:
        note = f"Seed{'s' if len(seeds) > 1 else ''} {listed}."
    if results[0].kind == "classification":
        note += (
            " Accuracy with the task given, and with the task inferred: by entropy alone, combined with the density."
        )
    return note


def _grouped(results: Sequence[RunResult], label: Callable[[RunResult], str]) -> dict[str, list[RunResult]]:
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(label(result), []).append(result)
    return groups


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


def account_table(results: Sequence[RunResult], label: Callable[[RunResult], str] | None = None) -> Table:
    """Compare runs of one stream in the predictive over all classes seen, and in what each method used and keeps.

    ``joint minus this`` is the last accuracy of the method ``joint`` on the same tasks, of the same seed, minus that of
    the run: accuracy over all classes falls with their number also if nothing is forgotten.

    Args:
        results: results of runs on one data set.
        label: as for :func:`comparison_table`.
    """
    results = check_results(results)
    groups = find_repetitions(results, None if label is None else _named(label)).rows
    joint = {_tasks_of(r): value for r in results if r.method == "joint" and (value := _last(r)) is not None}
    columns = [Column("scenario")]
    entries: list[Sequence[Cell | str]] = [[_scenario(runs[0]) for runs in groups.values()]]
    for measure in account_measures():
        cells = [_over_seeds([measure.get(r) for r in runs]) for runs in groups.values()]
        if any(cell.value is not None for cell in cells):
            columns.append(measure.column)
            entries.append(_mark_best(cells, measure.larger_is_better))
    if joint and len(groups) > 1:
        columns.insert(2, Column("joint minus this", "points"))  # after the last accuracy
        entries.insert(2, [_behind(runs, joint) for runs in groups.values()])
    rows = tuple((name, *(cells[i] for cells in entries)) for i, name in enumerate(groups))
    title = f"{results[0].data}{judged(results[0])}: all classes seen, and what each method used and keeps"
    note = "passes: of each task's training examples. stored: parameters, densities and examples."
    return Table(title, (Column("method"), *columns), rows, note)


_last = final("last_accuracy")


def _tasks_of(result: RunResult) -> tuple[Any, ...]:
    """Return what two runs share that learn the same tasks: the seed, their names, and settings of the data."""
    data = (item for item in result.settings.items() if not item[0].startswith("learner"))
    return result.seed, result.tasks, tuple(sorted(data))


def _behind(runs: Sequence[RunResult], joint: Mapping[tuple[Any, ...], float]) -> Cell:
    """Return the last accuracy of joint runs minus that of runs on the same tasks."""
    each = [(joint.get(_tasks_of(run)), _last(run)) for run in runs]
    return _over_seeds([high - low for high, low in each if high is not None and low is not None])


def _scenario(result: RunResult) -> str:
    return str(result.final.get("scenario") or "-")


def comparison_tables(results: Sequence[RunResult]) -> list[Table]:
    """Make tables for each data set and split, in the order of the runs: results, and accounts if they are recorded."""
    results = check_results(results)
    tables = []
    for runs in _grouped(results, lambda r: r.data + judged(r)).values():
        tables.append(comparison_table(runs))
        if any(run.final.get("scenario") for run in runs):
            tables.append(account_table(runs))
    return tables


@styled
def comparison_curves(results: Sequence[RunResult]) -> Any:
    """Draw the mean accuracy (error) on the tasks so far against their number: a line per row, a band over seeds.

    Args:
        results: results of runs on one data set.

    Returns:
        A matplotlib figure: a panel with the task given, and those with the task inferred by entropy and combined.
    """
    results = check_results(results)
    groups, classes = find_repetitions(results).rows, results[0].kind == "classification"
    chosen = [c for c in ("given", "entropy", "combined") if all(c in r.matrix for r in results)]
    if not chosen:
        raise value_error("results", expected="runs with matrices of accuracy", found="none in some")
    figure, axes = new_figure(1, len(chosen), (3.2, 3.0))
    lowest = math.inf
    for axis, criterion in zip(axes[0], chosen, strict=True):
        for color, (name, runs) in zip(task_colors(len(groups)), groups.items(), strict=True):
            rows = [run.matrix[criterion] for run in runs]
            means = np.array([[float(np.mean(np.array(row, dtype=float))) for row in matrix] for matrix in rows])
            steps, mean = np.arange(1, means.shape[1] + 1), means.mean(0)
            axis.fill_between(steps, means.min(0), means.max(0), color=color, alpha=0.2, linewidth=0)
            axis.plot(steps, mean, color=color, marker="o", markersize=3.5, label=shown(name), clip_on=False)
            lowest = min([lowest, *means[np.isfinite(means)].tolist()])  # a number may be missing
        axis.set_title("task given" if criterion == "given" else f"task inferred: {criterion}", pad=10)
        axis.set_xlabel("number of tasks learnt")
        axis.set_xticks(steps)
        axis.grid(axis="y")
    for axis in axes[0]:
        if classes:
            axis.set_ylim(floor(lowest) if math.isfinite(lowest) else 0, 100)
        else:
            axis.set_yscale("log")
    axes[0, 0].set_ylabel("mean accuracy so far [%]" if classes else "mean squared error so far")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def comparison_figures(results: Sequence[RunResult]) -> list[ReportFigure]:
    """Draw a chart and curves for each data set and split."""
    results = check_results(results)
    figures: list[ReportFigure] = []
    for what, runs in _grouped(results, lambda r: r.data + judged(r)).items():
        data = runs[0].data + ("" if runs[0].judged_on == "test" else f"-{runs[0].judged_on}")
        caption = f"{what}: dots are means over seeds, bars their standard deviation."
        figures.append(ReportFigure(f"{data}-comparison", caption, png(comparison_chart(comparison_table(runs)))))
        if all(run.matrix for run in runs):
            caption = f"{what}: mean over the tasks learnt so far; bands reach from the worst seed to the best."
            figures.append(ReportFigure(f"{data}-curves", caption, png(comparison_curves(runs))))
    return figures


def comparison_page(results: Sequence[RunResult]) -> str:
    """Build one self-contained page with the tables and figures of several runs."""
    results = check_results(results)
    names = ", ".join(_grouped(results, lambda r: r.data))
    about = f"{len(results)} runs of {len({r.method for r in results})} methods"
    return report_html(f"Comparison on {names}", comparison_tables(results), comparison_figures(results), about=about)
