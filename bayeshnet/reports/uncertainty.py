"""Figures of predictive uncertainty: entropy histograms and reliability diagrams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..deprecation import renamed_argument
from ..errors import check_int, value_error
from ..metrics import reliability_bins
from .style import NEUTRAL, TASK_COLORS, new_figure, shown, styled

__all__ = ["entropy_histograms", "reliability_diagram"]


def _numbers(values: Tensor, name: str) -> np.ndarray:
    numbers = values.detach().double().cpu().numpy().ravel()
    if not len(numbers) or not np.isfinite(numbers).all():
        raise value_error(name, expected="finite numbers, at least one", got=values)
    return numbers


@styled
def entropy_histograms(
    own: Tensor,
    other: Tensor | None = None,
    ood: Mapping[str, Tensor] | None = None,
    *,
    num_classes: int | None = None,
    num_bins: int = 30,
    foreign: Mapping[str, Tensor] | None = None,
) -> Any:
    """Draw histograms of the predictive entropy, which should be small under an input's own task and large otherwise.

    Args:
        own: entropy of test inputs under their own task, in nats ``(N,)``.
        other: entropy of the same inputs under other tasks ``(M,)``.
        ood: smallest entropy over the tasks for each set of OOD inputs.
        num_classes: number of classes; the axis ends at its logarithm.
        num_bins: number of bins of each histogram.
        foreign: old name of ``ood``.

    Returns:
        A matplotlib figure: one panel, or two if there are OOD inputs.
    """
    ood = renamed_argument("foreign", "ood", foreign, ood)
    check_int("num_bins", num_bins, 1)
    mine = _numbers(own, "own")
    sets = {name: _numbers(values, name) for name, values in (ood or {}).items()}
    rest = [] if other is None else [_numbers(other, "other")]
    largest = math.log(num_classes) if num_classes else max(v.max() for v in (mine, *rest, *sets.values()))
    edges = np.linspace(0, max(largest, 1e-6), num_bins + 1)

    def draw(axis: Any, values: np.ndarray, label: str, color: str, filled: bool) -> None:
        share = 100 * np.histogram(np.clip(values, 0, edges[-1]), edges)[0] / len(values)
        if filled:
            axis.stairs(share, edges, fill=True, color=color, alpha=0.35)
        axis.stairs(share, edges, color=color, linewidth=1.6, label=label)

    figure, axes = new_figure(1, 1 + bool(sets), (3.9, 3.0), sharey=True)
    for axis in axes[0]:
        draw(axis, mine, "own task", TASK_COLORS[0], True)
        axis.set_xlabel("predictive entropy [nats]")
        axis.set_xlim(0, edges[-1])
        axis.set_yscale("log")
        axis.set_ylim(0.1, 110)
        axis.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        axis.grid(axis="y")
    if rest:
        draw(axes[0, 0], rest[0], "other tasks", TASK_COLORS[3], True)
    axes[0, 0].set_title("test inputs")
    axes[0, 0].set_ylabel("share of the inputs [%]")
    colors = (NEUTRAL, *TASK_COLORS[1:3], *TASK_COLORS[4:])
    for i, (name, values) in enumerate(sets.items()):
        draw(axes[0, 1], values, shown(name), colors[i % len(colors)], False)
    if sets:
        axes[0, 1].set_title("OOD inputs, least over the tasks")
    entries = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(len(entries), 5))
    return figure


@styled
def reliability_diagram(probs: Tensor, y: Tensor, num_bins: int = 15) -> Any:
    """Draw accuracy against confidence in bins, above the fraction of predictions in each bin.

    Args:
        probs: predictive class probabilities ``(N, C)``.
        y: true classes ``(N,)``.
        num_bins: number of bins on [0, 1].

    Returns:
        A matplotlib figure; its title gives the expected calibration error over these bins.
    """
    bins = reliability_bins(probs.detach().cpu(), y.cpu(), num_bins)
    edges, counts = bins.edges.double().numpy(), bins.counts.double().numpy()
    confidence, accuracy = bins.confidence.double().numpy(), bins.accuracy.double().numpy()
    used = counts > 0
    error = (counts * np.abs(accuracy - confidence)).sum() / counts.sum()
    figure, axes = new_figure(2, 1, (3.9, 2.15), sharex=True, height_ratios=(3, 1))
    top, bottom = axes[:, 0]
    middles, width = (edges[:-1] + edges[1:]) / 2, 0.94 * np.diff(edges)
    low, high = _interval(accuracy[used], counts[used])
    top.bar(middles[used], accuracy[used], width[used], color=TASK_COLORS[5], label="accuracy, ± its standard error")
    top.vlines(middles[used], low, high, color="#444444", linewidth=1)
    gap = (confidence - accuracy)[used]
    style = {"facecolor": "none", "edgecolor": TASK_COLORS[3], "hatch": "////", "linewidth": 0.8}
    top.bar(middles[used], gap, width[used], bottom=accuracy[used], label="up to the confidence", **style)
    top.plot([0, 1], [0, 1], color="#444444", linestyle=(0, (4, 2)), linewidth=1, label="calibrated")
    top.set_ylabel("accuracy")
    top.set_ylim(0, 1.02)
    top.set_title(f"calibration error {100 * error:.1f} % ({len(y):,} predictions)")
    bottom.bar(middles, 100 * counts / counts.sum(), width, color=NEUTRAL)
    bottom.set_xlabel("confidence")
    bottom.set_ylabel("share [%]")
    bottom.set_ylim(0, 105)
    left = min(1 / probs.shape[1], float(confidence[used].min()))
    bottom.set_xlim(math.floor(num_bins * left) / num_bins, 1)
    for axis in (top, bottom):
        axis.grid(axis="y")
    handles, labels = top.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _interval(rate: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's interval of one standard error, which is accurate for few predictions as well."""
    middle = (rate + 0.5 / count) / (1 + 1 / count)
    half = np.sqrt(rate * (1 - rate) / count + 0.25 / count**2) / (1 + 1 / count)
    return middle - half, middle + half
