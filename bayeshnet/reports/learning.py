"""Figures of learning over time: accuracy matrices, learning and forgetting curves, comparisons of methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import value_error
from .records import RunResult
from .style import TASK_COLORS, new_figure, panels, shown, styled, task_colors
from .table import Cell, Table

__all__ = ["accuracy_matrices", "comparison_chart", "floor", "learning_curves", "training_curves"]

_MARKERS = "osD^v<>p"
_SHOWN = ("given", "entropy", "density", "combined")


def _square(rows: Sequence[Sequence[float]]) -> np.ndarray:
    full = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        full[i, : len(row)] = row
    return full


def _heading(criterion: str) -> str:
    return "task given" if criterion == "given" else f"task inferred: {criterion.replace('_', ' ')}"


def _chosen(result: RunResult, criteria: Sequence[str] | None) -> list[str]:
    chosen = [c for c in (criteria or _SHOWN) if c in result.matrix]
    if not chosen:
        raise value_error(
            "criteria",
            expected="some of " + (", ".join(result.matrix) or "the matrices, of which there are none"),
            got=criteria,
        )
    return chosen


def _ticks(names: Sequence[str]) -> list[str]:
    """Return the names as labels of ticks, or numbers if they are too long."""
    return (
        [shown(name) for name in names]
        if max(map(len, names)) <= 7 and len(names) <= 6
        else [str(i + 1) for i in range(len(names))]
    )


@styled
def accuracy_matrices(result: RunResult, criteria: Sequence[str] | None = None) -> Any:
    """Draw heat maps of the accuracy (error) on each task after each task, one per criterion of task inference.

    Args:
        result: numbers of a run.
        criteria: ``"given"`` or criteria of task inference; by default the task given, by entropy, density, combined.

    Returns:
        A matplotlib figure.
    """
    chosen, classes = _chosen(result, criteria), result.kind == "classification"
    count, ticks = len(result.tasks), _ticks(result.tasks)
    side = min(max(0.48 * count + 0.7, 2.3), 5.0)
    figure, axes = panels(len(chosen), (side, side - 0.1 if len(chosen) > 3 else side + 0.2))
    figure.set_layout_engine("compressed")
    matrices = [_square(result.matrix[c]) for c in chosen]
    if not classes:
        matrices = [np.log10(np.maximum(m, 1e-12)) for m in matrices]
    low, high = (0.0, 100.0) if classes else (np.nanmin(matrices), max(np.nanmax(matrices), np.nanmin(matrices) + 1))
    for axis, values, criterion in zip(axes, matrices, chosen, strict=True):
        axis.set_facecolor("#F2F2F2")
        image = axis.imshow(values, vmin=low, vmax=high, cmap="Blues" if classes else "Oranges")
        for i, j in zip(*np.nonzero(np.isfinite(values)), strict=True):
            dark = values[i, j] > low + 0.6 * (high - low)
            text = f"{values[i, j]:.1f}" if classes else f"{10 ** values[i, j]:.1e}"
            axis.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        axis.set_title(shown(_heading(criterion)))
        axis.set_xlabel("task tested")
        axis.set_xticks(range(count), ticks)
        axis.set_yticks(range(count), ticks)
        axis.set_xticks(np.arange(count - 1) + 0.5, minor=True)
        axis.set_yticks(np.arange(count - 1) + 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=1.2)
        axis.set_axisbelow(False)
        axis.tick_params(which="both", length=0)
        axis.spines[:].set_visible(False)
        axis.set_ylabel("after learning task")
    label = "accuracy [%]" if classes else "log10 of the mean squared error"
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.02, aspect=30)
    return figure


@styled
def learning_curves(result: RunResult, criteria: Sequence[str] | None = None) -> Any:
    """Draw the accuracy (error) on each task against the number of tasks learned; a falling (rising) line forgets.

    Args:
        result: numbers of a run.
        criteria: as for :func:`accuracy_matrices`; by default the task given, and inferred by the combined criterion.

    Returns:
        A matplotlib figure.
    """
    chosen, classes = _chosen(result, criteria or ("given", "combined")), result.kind == "classification"
    figure, axes = new_figure(1, len(chosen), (3.9, 3.1), sharey=classes)
    steps = np.arange(1, len(result.tasks) + 1)
    for axis, criterion in zip(axes[0], chosen, strict=True):
        values = _square(result.matrix[criterion])
        for t, color in enumerate(task_colors(len(steps))):
            # Markers are shifted sideways, so that those of equal height do not cover each other.
            place = steps[t:] + 0.22 * (t / max(1, len(steps) - 1) - 0.5)
            style = {"color": color, "marker": _MARKERS[t % len(_MARKERS)], "markersize": 5, "clip_on": False}
            axis.plot(place, values[t:, t], label=shown(result.tasks[t]), zorder=3, **style)
        mean = [np.nanmean(values[i, : i + 1]) for i in range(len(steps))]
        axis.plot(steps, mean, color="#444444", linestyle=(0, (4, 2)), linewidth=1.2, label="mean so far", zorder=4)
        axis.set_title(shown(_heading(criterion)), pad=10)
        axis.set_xlabel("number of tasks learnt")
        axis.set_xticks(steps)
        axis.grid(axis="y")
        if classes:
            axis.set_ylim(bottom=floor(np.nanmin(values)), top=100)
            axis.yaxis.get_major_locator().set_params(steps=[1, 2, 5, 10], nbins=6)
        else:
            axis.set_yscale("log")
    axes[0, 0].set_ylabel("accuracy [%]" if classes else "mean squared error")
    if classes and len(chosen) > 1:
        lowest = min(np.nanmin(_square(result.matrix[c])) for c in chosen)
        axes[0, 0].set_ylim(bottom=floor(lowest), top=100)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


@styled
def training_curves(curves: Sequence[Mapping[str, Sequence[float]]], names: Sequence[str]) -> Any:
    """Draw the parts of the loss during the training of each task: negative log-likelihood and KL from the prior.

    Args:
        curves: ``step`` and some of ``nll``, ``kl`` for each task.
        names: names of the tasks.

    Returns:
        A matplotlib figure.
    """
    parts = {"nll": ("negative log-likelihood", "nats per example"), "kl": ("KL from the prior", "nats")}
    present = [name for name in parts if any(curve.get(name) for curve in curves)]
    if not present or len(curves) != len(names):
        raise value_error("curves", expected=f"the loss over steps for {len(names)} tasks", found=f"{len(curves)}")
    figure, axes = new_figure(1, len(present), (3.9, 3.0))
    for axis, part in zip(axes[0], present, strict=True):
        for curve, name, color in zip(curves, names, task_colors(len(names)), strict=True):
            if curve.get(part):
                axis.plot(curve["step"], curve[part], color=color, linewidth=1.3, label=shown(name))
        if part == "nll" and min(min(curve[part]) for curve in curves if curve.get(part)) > 0:
            axis.set_yscale("log")
        axis.set_title(parts[part][0])
        axis.set_ylabel(parts[part][1])
        axis.set_xlabel("step")
        axis.grid(axis="y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


def floor(lowest: float) -> float:
    """Return a round lower end for an axis up to 100 % that leaves room for small differences."""
    step = 1.0 if lowest >= 97 else 2.0 if lowest >= 90 else 5.0 if lowest >= 75 else 10.0
    return max(0.0, step * math.floor((lowest - 0.3 * step) / step))


def _limit(axis: Any, low: np.ndarray, high: np.ndarray, unit: str) -> None:
    """Set limits that leave room beside the points; the ticks of a percentage stay within 0 and 100."""
    least, most = float(np.nanmin(low)), float(np.nanmax(high))
    room = 0.15 * (most - least) or 0.05 * abs(most) or 1.0
    axis.set_xlim(least - room, most + room)
    if unit == "%":
        ticks = axis.get_xticks()
        axis.set_xticks(ticks[(ticks >= max(0.0, least - room)) & (ticks <= min(100.0, most + room))])


@styled
def comparison_chart(table: Table, columns: Sequence[str] | None = None) -> Any:
    """Draw dots with bars of one standard deviation: one panel per measure and one row per method.

    Args:
        table: table made by :func:`~bayeshnet.reports.comparison_table`.
        columns: headings of the columns to draw; by default all columns of numbers but times.

    Returns:
        A matplotlib figure.
    """
    numeric = [i for i, right in enumerate(table.numeric()) if right and "time" not in table.columns[i].name]
    known = {table.columns[i].name: i for i in numeric}
    for name in columns or ():
        if name not in known:
            raise value_error("columns", expected="some of " + ", ".join(known), got=name)
    chosen = [known[name] for name in columns] if columns else numeric
    if not chosen:
        raise value_error("table", expected="at least one column of numbers", got=table.title)
    wide = min(4, len(chosen))
    figure, axes = new_figure(math.ceil(len(chosen) / wide), wide, (2.5, 0.28 * len(table.rows) + 1.0), sharey=True)
    places = np.arange(len(table.rows))
    for axis, index in zip(axes.flat, chosen, strict=False):
        cells = [row[index] for row in table.rows]
        values = [c.value if isinstance(c, Cell) and c.value is not None else np.nan for c in cells]
        stds = [c.std if isinstance(c, Cell) and c.std is not None else 0.0 for c in cells]
        axis.errorbar(values, places, xerr=stds, fmt="o", color=TASK_COLORS[0], markersize=4, elinewidth=1.2, capsize=2)
        axis.set_title(shown(table.columns[index].name))
        axis.set_xlabel(table.columns[index].unit or " ")
        axis.set_yticks(places, [shown(str(row[0])) for row in table.rows])
        axis.set_ylim(len(places) - 0.5, -0.5)
        _limit(axis, np.array(values) - stds, np.array(values) + stds, table.columns[index].unit)
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    figure.suptitle(shown(table.title), fontsize=10)
    return figure
