"""Records of a sweep: a table of all trials, a figure, and the best configuration."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...files import write_text
from ...reports.style import panels, save_figure, shown, styled
from .space import Plain, Setting

__all__ = ["best_first", "draw_trials", "rows_of", "write_records"]

_MOST_PANELS = 11
"""Settings that the figure shows; the table has all."""


def rows_of(study: Any, space: Sequence[Setting]) -> list[dict[str, Plain]]:
    """Return a row for each trial, in their order: number, state, tasks learned, value and settings.

    The value of a pruned trial is the mean over the tasks that it learned.
    """
    rows: list[dict[str, Plain]] = []
    for trial in study.get_trials(deepcopy=False):
        last = max(trial.intermediate_values, default=0)
        value = trial.value if trial.value is not None else trial.intermediate_values.get(last)
        row: dict[str, Plain] = {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "tasks": last,
            "value": value,
        }
        rows.append(row | {setting.name: trial.params.get(setting.name) for setting in space})
    return rows


def best_first(rows: Sequence[dict[str, Any]], *, largest: bool) -> list[dict[str, Any]]:
    """Return the rows of complete trials from the best, then the others in their order."""
    complete = [row for row in rows if row["state"] == "complete"]
    complete.sort(key=lambda row: -row["value"] if largest else row["value"])
    return [*complete, *(row for row in rows if row["state"] != "complete")]


def write_records(folder: Path, study: Any, space: Sequence[Setting], best: str | None) -> None:
    """Write ``trials.csv``, ``sweep.png`` and, if a trial is complete, ``best.yaml``."""
    rows = rows_of(study, space)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["trial", "state", "tasks", "value", *(s.name for s in space)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "trials.csv", text.getvalue())
    if best is not None:
        write_text(folder / "best.yaml", best)
    if rows:
        save_figure(draw_trials(rows, space, largest=study.direction.name == "MAXIMIZE"), folder / "sweep.png")


@styled
def draw_trials(rows: Sequence[dict[str, Any]], space: Sequence[Setting], *, largest: bool) -> Any:
    """Draw the value of each trial with the best so far, and the value over each setting; pruned trials are hollow."""
    figure, (first, *others) = panels(1 + min(len(space), _MOST_PANELS), (3.6, 2.7))
    known = [row for row in rows if row["value"] is not None and math.isfinite(row["value"])]
    _scatter(first, known, [row["trial"] for row in known])
    complete = [row for row in known if row["state"] == "complete"]
    so_far: list[float] = []
    for row in complete:
        pick = max if largest else min
        so_far.append(pick([row["value"], *so_far[-1:]]))
    first.step([row["trial"] for row in complete], so_far, where="post", label="best so far")
    first.set_xlabel("trial")
    first.set_ylabel("mean accuracy" if largest else "mean squared error")
    first.legend()
    for axis, setting in zip(others, space, strict=False):
        if setting.choices:
            places = {str(choice): place for place, choice in enumerate(setting.choices)}
            _scatter(axis, known, [places[str(row[setting.name])] for row in known])
            axis.set_xticks(range(len(places)), [shown(name) for name in places])
        else:
            _scatter(axis, known, [row[setting.name] for row in known])
            axis.set_xscale("log" if setting.log else "linear")
        axis.set_xlabel(shown(setting.name.removeprefix("learner.")))
    return figure


def _scatter(axis: Any, rows: Sequence[dict[str, Any]], places: Sequence[Any]) -> None:
    for state, face in (("complete", None), ("other", "none")):
        chosen = [i for i, row in enumerate(rows) if (row["state"] == "complete") == (state == "complete")]
        options = {} if face is None else {"facecolors": face, "edgecolors": "#7F7F7F"}
        axis.scatter([places[i] for i in chosen], [rows[i]["value"] for i in chosen], s=18, **options)
