"""Figures over the inputs: generated weights as images, uncertainty over the plane, bands along a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..checks import check_data, check_items, check_mapping
from ..errors import check_finite, check_floating, check_instance, check_int, check_number, value_error
from .figure_data import Bands, Planes
from .style import new_figure, panels, shown, styled, task_colors

__all__ = ["regression_bands", "uncertainty_maps", "weight_images"]


def _numpy(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().double().cpu().numpy()
    return array


@styled
def weight_images(weights: Mapping[str, Tensor], most: int = 12) -> Any:
    """Draw weights of the first layer as images, one row of hidden units per task, on one symmetric color scale.

    Args:
        weights: images ``(K, H, W)`` by name of the task: the weights from the pixels to each of ``K`` hidden units.
        most: largest number of units shown per task.

    Returns:
        A matplotlib figure.
    """
    check_int("most", most, 1)
    check_mapping("weights", weights, "images (K, H, W) by name of the task", Tensor)
    for name, w in weights.items():
        check_finite(f"weights {name!r}", check_data(f"weights {name!r}", check_floating(f"weights {name!r}", w)))
    if not weights or any(w.ndim != 3 or not w.numel() for w in weights.values()):
        raise value_error(
            "weights",
            expected="images (K, H, W) for at least one task",
            got={k: tuple(w.shape) for k, w in weights.items()},
        )
    images = {name: _numpy(w[:most]) for name, w in weights.items()}
    mosaic = np.concatenate([_strip(units, max(map(len, images.values()))) for units in images.values()])[:-1, :-1]
    # With the range of all weights, a few extreme ones would leave the others pale.
    limit = max(float(np.nanquantile(np.abs(mosaic), 0.99)), 1e-12)
    width = 0.72 * max(map(len, images.values()))
    figure, axes = new_figure(1, 1, (width + 1.6, width * mosaic.shape[0] / mosaic.shape[1] + 0.4))
    axis, row = axes[0, 0], (mosaic.shape[0] + 1) / len(images)
    drawn = axis.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axis.set_yticks(row * (np.arange(len(images)) + 0.5) - 1, [shown(name) for name in images], fontsize=9)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=axis, label="weight", shrink=0.9, pad=0.02, aspect=30)
    bar.outline.set_visible(False)
    axis.set_title("first-layer weights, one image per hidden unit")
    return figure


def _strip(images: np.ndarray, count: int) -> np.ndarray:
    """Put images ``(K, H, W)`` into a row of ``count`` places, each with an empty line below and to its right."""
    places = np.full((count, images.shape[1] + 1, images.shape[2] + 1), np.nan)
    places[: len(images), :-1, :-1] = images
    strip: np.ndarray = places.transpose(1, 0, 2).reshape(images.shape[1] + 1, -1)
    return strip


@styled
def uncertainty_maps(planes: Planes, names: Sequence[str], num_classes: int = 2) -> Any:
    """Draw the task inferred at each point of the plane, and the predictive entropy: the smallest, and of each task.

    Args:
        planes: predictions over the plane.
        names: names of the tasks.
        num_classes: number of classes; the color scale ends at its logarithm.

    Returns:
        A matplotlib figure: bright is uncertain; the points are the training data, one marker per class.
    """
    check_instance("planes", planes, Planes, "Planes")
    names = check_items("names", names, "the names of the tasks", str)
    check_int("num_classes", num_classes, 2)
    if not planes.inputs:
        raise value_error("planes", expected="training inputs of each task", found="none")
    if len(planes.entropy) != len(names):
        raise value_error("names", expected=f"{len(planes.entropy)} names, one for each map", got=names)
    low, high = planes.extent
    frame = {"extent": (low, high, low, high), "origin": "lower", "interpolation": "nearest"}
    colors = task_colors(len(names))
    entropy = _numpy(planes.entropy)
    figure, axes = panels(len(names) + 1 + (planes.task is not None), (3.0, 2.9))
    figure.set_layout_engine("compressed")
    maps = [("least over the tasks", "black", entropy.min(0))]
    maps += [(f"under task {t + 1}: {shown(names[t])}", colors[t], entropy[t]) for t in range(len(names))]
    for t, (axis, (title, color, values)) in enumerate(zip(axes[-len(maps) :], maps, strict=True), -1):
        image = axis.imshow(values, cmap="magma", vmin=0, vmax=math.log(num_classes), **frame)
        for other in range(len(names)):
            _points(axis, planes.inputs[other], planes.targets[other], "white" if t in (-1, other) else "#8A8A8A")
        axis.set_title(title, color=color)
    if planes.task is not None:
        from matplotlib.colors import ListedColormap

        # Matplotlib 3.8 takes a tuple of two for a color and its opacity.
        scale = {"cmap": ListedColormap(list(colors)), "vmin": -0.5, "vmax": len(names) - 0.5}
        axes[0].imshow(_numpy(planes.task), alpha=0.45, **scale, **frame)
        for t, color in enumerate(colors):
            _points(axes[0], planes.inputs[t], planes.targets[t], color)
        axes[0].set_title("task inferred")
    for axis in axes:
        axis.set_xlabel("first input")
        axis.set_ylabel("second input")
        axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="predictive entropy [nats]", shrink=0.8, pad=0.02, aspect=30)
    return figure


def _points(axis: Any, x: Tensor, y: Tensor, color: Any) -> None:
    points, classes = _numpy(x), y.cpu().numpy()
    for marker, label in zip("osD^v<>p*h", sorted(set(classes.tolist())), strict=False):
        chosen = points[classes == label]
        axis.scatter(*chosen.T, s=13, marker=marker, color=color, edgecolors="black", linewidths=0.5)


@styled
def regression_bands(bands: Bands, names: Sequence[str], noise_std: float = 0.0) -> Any:
    """Draw the predictive mean with bands of one and two standard deviations under each task, and the true function.

    Args:
        bands: predictions along the line.
        names: names of the tasks.
        noise_std: standard deviation of the noise of the targets, which the bands include.

    Returns:
        A matplotlib figure: the prediction of each task in a panel of its own, with its training points in full color
        and those of other tasks grey.
    """
    check_instance("bands", bands, Bands, "Bands")
    names = check_items("names", names, "the names of the tasks", str)
    check_number("noise_std", noise_std, 0.0, 1e30)
    if not bands.inputs:
        raise value_error("bands", expected="training inputs of each task", found="none")
    if len(bands.mean) != len(names):
        raise value_error("names", expected=f"{len(bands.mean)} names, one for each task", got=names)
    figure, axes = panels(len(names), (2.8, 2.9), sharey=True, sharex=True)
    x, means = _numpy(bands.x).ravel(), _numpy(bands.mean)
    stds = np.sqrt(_numpy(bands.std) ** 2 + noise_std**2)
    values = np.concatenate([_numpy(v).ravel() for v in bands.targets])
    room = 0.75 * max(values.max() - values.min(), 1e-6)
    for t, (axis, color) in enumerate(zip(axes, task_colors(len(names)), strict=True)):
        for width, alpha, label in ((2, 0.18, "±2 standard deviations"), (1, 0.3, "±1 standard deviation")):
            low, high = means[t] - width * stds[t], means[t] + width * stds[t]
            axis.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0, label=label)
        axis.plot(x, means[t], color=color, label="mean")
        for other, (where, truth) in enumerate(bands.truth):
            style = {"color": "black" if other == t else "#A8A8A8", "linestyle": (0, (4, 2)), "linewidth": 1.1}
            axis.plot(_numpy(where).ravel(), _numpy(truth).ravel(), label="truth" if other == t else None, **style)
        for other, (where, target) in enumerate(zip(bands.inputs, bands.targets, strict=True)):
            face = color if other == t else "#C4C4C4"
            style = {"s": 12, "color": face, "edgecolors": "black", "linewidths": 0.4, "zorder": 4}
            axis.scatter(_numpy(where).ravel(), _numpy(target).ravel(), **style)
        axis.set_title(f"under task {t + 1}: {shown(names[t])}", color=color)
        axis.set_xlabel("input")
        axis.set_xlim(x.min(), x.max())
        axis.set_ylim(values.min() - room, values.max() + room)
        axis.grid(axis="y")
    axes[0].set_ylabel("target")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure
