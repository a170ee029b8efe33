"""The page of a stream: accuracy, probabilities and costs of all methods in a table each; then earlier runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bayeshnet.reports import Cell, Column, RunResult, Table, account_table, comparison_table

EARLIER = "Earlier runs\n------------\n"
"""Heading of the part that is kept as it is when a page is written again."""

_ACCURACY = (
    ("scenario", "scenario"),
    ("runs", "runs"),
    ("last, all classes", "all classes"),
    ("average incremental", "average incremental"),
    ("joint minus this", "joint minus this"),
    ("task given", "task given"),
    ("task", "task"),
    ("by entropy", "by entropy alone"),
    ("forgetting", "forgetting"),
)
_PROBABILITIES = (
    ("NLL, all classes", "NLL"),
    ("Brier, all classes", "Brier"),
    ("ECE, all classes", "ECE"),
    ("NLL", "NLL, task given"),
    ("ECE", "ECE, task given"),
)
_COSTS = (
    ("examples stored", "examples stored"),
    ("stored", "stored"),
    ("gradient steps", "gradient steps"),
    ("passes", "passes"),
    ("beta", "beta"),
)
_NOTE = """\
*All classes*: accuracy over the classes of all tasks after the last one, the task unknown. *Task given*, *task*:
accuracy if the task is told, and how often it is inferred rightly. *By entropy alone*: accuracy of class and task where
the entropy of the predictions infers the task. *NLL*, *Brier* and *ECE* are of the predictive over all classes where
nothing else is said. *Stored*: parameters, densities of the inputs, sums and examples. :doc:`../how-we-measure` defines
all columns."""


def tables(results: Sequence[RunResult]) -> list[Table]:
    """Make three tables of the runs of one stream, with the rows of :func:`bayeshnet.reports.comparison_table`."""
    main, account = comparison_table(results), account_table(results)
    columns: dict[str, tuple[Column, list[Cell | str]]] = {}
    for table in (account, main):
        for i, column in enumerate(table.columns):
            columns[column.name] = column, [row[i] for row in table.rows]
    names = [str(row[0]) for row in main.rows]
    columns["task"] = Column("task", "%"), [_task([r for r in results if r.method == name]) for name in names]
    title = main.title
    return [
        _part(f"Accuracy: {title}", columns, names, _ACCURACY, _weights(results)),
        _part(f"Probabilities: {title}", columns, names, _PROBABILITIES),
        _part(f"Costs: {title}", columns, names, _COSTS),
    ]


def _weights(results: Sequence[RunResult]) -> str:
    """Return a sentence on the runs and on the weights of evidence and entropy in them."""
    found = [combination for r in results if (combination := r.final.get("combination"))]
    seeds = sorted({r.seed for r in results})
    numbers = ", ".join(map(str, seeds))
    note = f"Mean ± standard deviation over runs with the seeds {numbers}." if len(seeds) > 1 else f"Seed {numbers}."
    if found:
        own = sum(bool(each.get("own")) for each in found)
        note += f" Tasks have weights of evidence and entropy of their own in {own} of {len(found)} runs with such."
    return note


def _part(
    title: str,
    known: dict[str, tuple[Column, list[Cell | str]]],
    names: Sequence[str],
    wanted: Sequence[tuple[str, str]],
    note: str = "",
) -> Table:
    """Return a table of some columns under new names."""
    found = [(known[name], shown) for name, shown in wanted if name in known]
    if wanted is _COSTS:  # which do not differ by seed
        found = [((column, [_exact(cell) for cell in cells]), shown) for (column, cells), shown in found]
    heads = [Column(shown, column.unit, column.decimals) for (column, _), shown in found]
    rows = tuple((name, *(cells[i] for (_, cells), _ in found)) for i, name in enumerate(names))
    return Table(title, (Column("method"), *heads), rows, note)


def _exact(cell: Cell | str) -> Cell | str:
    """Return a number without a deviation of 0."""
    return Cell(cell.value) if isinstance(cell, Cell) and not cell.std else cell


def _task(runs: Sequence[RunResult]) -> Cell:
    """Return how often the task is inferred rightly, by the criterion that weighs the tasks."""
    values = []
    for run in runs:
        found = run.final.get("task_inference") or {}
        values += [found[c] for c in ("combined", "softmax", "entropy") if c in found][:1]
    if not values:
        return Cell(None)
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def page(data: str, results: Sequence[RunResult], command: str, note: str, before: str = "") -> str:
    """Return the page in reStructuredText, with the command that made the runs.

    Args:
        data: name of the stream.
        results: the runs.
        command: command line that makes them.
        note: paragraphs below the command.
        before: the page that is written anew, whose section of earlier runs is kept.
    """
    title = data.capitalize().replace("-", " ")
    head = [title, "=" * len(title), "", "Made by", "", ".. code-block:: console", "", f"   $ {command}", ""]
    parts = [*head, *([note, ""] if note else []), "\n\n".join(table.rst() for table in tables(results)), "", _NOTE, ""]
    _, found, earlier = before.partition(EARLIER)
    return "\n".join([*parts, found + earlier] if found else parts)
