"""The figures of a run as PNG files with captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..errors import check_instance, check_number
from .figure_data import FigureData
from .learning import accuracy_matrices, learning_curves, training_curves
from .maps import regression_bands, uncertainty_maps, weight_images
from .records import RunResult, check_result
from .style import png
from .uncertainty import entropy_histograms, reliability_diagram

__all__ = ["ReportFigure", "run_figures"]


class ReportFigure(NamedTuple):
    """A figure of a report.

    Args:
        name: name of the file without suffix.
        caption: text under the figure.
        png: bytes of the PNG file.
    """

    name: str
    caption: str
    png: bytes


_Plan = tuple[str, str, Callable[[], Any]]


def run_figures(result: RunResult, data: FigureData | None = None, *, noise_std: float = 0.0) -> list[ReportFigure]:
    """Draw all figures of a run whose data are given.

    Args:
        result: numbers of the run.
        data: data that are not among the numbers.
        noise_std: standard deviation of the noise of regression targets.
    """
    check_result(result)
    check_number("noise_std", noise_std, 0.0, 1e30)
    data = FigureData() if data is None else check_instance("data", data, FigureData, "FigureData, or None")
    plans = [*_learning(result, data), *_uncertainty(data), *_inputs(result, data, noise_std)]
    return [ReportFigure(name, caption, png(draw())) for name, caption, draw in plans]


def _learning(result: RunResult, data: FigureData) -> Iterator[_Plan]:
    if result.matrix:
        what = "Accuracy" if result.kind == "classification" else "Mean squared error"
        caption = f"{what} on each task (columns) after learning each task (rows)."
        yield "matrix", caption, lambda: accuracy_matrices(result)
        yield "forgetting", f"{what} on each task while more tasks are learnt.", lambda: learning_curves(result)
    if any(curve.get("nll") for curve in data.training):
        caption = "Parts of the loss while each task was learnt, means over blocks of steps."
        yield "training", caption, lambda: training_curves(data.training, result.tasks)


def _uncertainty(data: FigureData) -> Iterator[_Plan]:
    probs, targets, own = data.probs, data.targets, data.entropy_own
    if own is not None:
        classes = None if probs is None else probs.shape[1]
        caption = "Predictive entropy of test inputs under their own and under other tasks, and of OOD inputs."
        known = data.entropy_other is not None and data.entropy_other.numel() > 0  # not for a single task
        other, ood = data.entropy_other if known else None, data.entropy_ood
        yield "entropy", caption, lambda: entropy_histograms(own, other, ood, num_classes=classes)
    if probs is not None and targets is not None:
        caption = "Accuracy of the predictions in bins of their confidence, with the task given."
        yield "reliability", caption, lambda: reliability_diagram(probs, targets)


def _inputs(result: RunResult, data: FigureData, noise_std: float) -> Iterator[_Plan]:
    if data.weights:
        caption = "Weights from the pixels to hidden units, from one network drawn from each task's posterior."
        yield "weights", caption, lambda: weight_images(data.weights)
    planes, bands = data.planes, data.bands
    if planes is not None:
        caption = "Task inferred, and predictive entropy over the plane; white: training data, grey: of other tasks."
        yield "plane", caption, lambda: uncertainty_maps(planes, result.tasks)
    if bands is not None:
        caption = "Predictive mean and bands under each task, its training points and the true functions."
        yield "bands", caption, lambda: regression_bands(bands, result.tasks, noise_std)
