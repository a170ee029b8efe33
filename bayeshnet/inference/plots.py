"""Figures of a training run and of predictions, on axes of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import MissingExtraError, check_shape, value_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes_or_new", "plot_classes", "plot_history", "plot_values"]

_WINDOW = 50
_INPUTS = 60


def axes_or_new(ax: Axes | None) -> Axes:
    """Return ``ax``, or the axes of a new figure; needs the extra ``app``."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError("matplotlib", "app", "a plot") from error
    return pyplot.subplots(layout="constrained")[1] if ax is None else ax


def plot_history(history: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw the loss and its likelihood part over the steps, in nats per example, and their running means.

    Args:
        history: of a :class:`~bayeshnet.inference.FitResult`.
        ax: the axes; those of a new figure if None.
    """
    ax = axes_or_new(ax)
    for color, (name, label) in enumerate((("loss", "negative ELBO per example"), ("nll", "negative log-likelihood"))):
        values = history[name].double()
        ax.plot(values, color=f"C{color}", alpha=0.25, linewidth=0.8)
        ax.plot(*_running_mean(values), color=f"C{color}", label=label)
    finite = torch.cat([history["loss"], history["nll"]]).double()
    finite = finite[finite.isfinite()]
    if len(finite):
        low, high = torch.quantile(finite[:: max(1, len(finite) // 10**5)], torch.tensor([0.0, 0.98]).double()).tolist()
        ax.set_ylim(low - 0.05 * (high - low) - 1e-6, high + 0.05 * (high - low) + 1e-6)
    ax.set_xlabel("step")
    ax.set_ylabel("nats")
    ax.legend()
    return ax


def plot_values(
    mean: Tensor, total: Tensor, aleatoric: Tensor, x: Tensor | None = None, ax: Axes | None = None
) -> Axes:
    """Draw predicted values with bands of two standard deviations: of the networks, and of the targets around them.

    Args:
        mean: ``(N, 1)``.
        total: variances ``(N,)``.
        aleatoric: variances ``(N,)``.
        x: inputs ``(N,)`` or ``(N, 1)``; their numbers if None.
        ax: the axes; those of a new figure if None.

    Raises:
        ValueError: if there are several targets or inputs.
    """
    if mean.ndim != 2 or mean.shape[1] != 1:
        raise value_error(
            "prediction", expected="one value for each input", got=mean, hint="Plot its columns yourself."
        )
    x = torch.arange(len(mean)) if x is None else x
    flat = check_shape("x", x.flatten() if x.ndim == 2 and x.shape[1] == 1 else x, (len(mean),)).detach().cpu()
    order = flat.argsort()
    at, middle = flat[order], mean[order, 0].cpu()
    ax = axes_or_new(ax)
    for variance, alpha, label in ((total, 0.15, "targets"), (total - aleatoric, 0.35, "networks")):
        width = 2 * variance.clamp_min(0).sqrt()[order].cpu()
        ax.fill_between(at, middle - width, middle + width, color="C0", alpha=alpha, linewidth=0, label=label)
    ax.plot(at, middle, color="C0", label="mean")
    ax.legend()
    return ax


def plot_classes(mean: Tensor, ax: Axes | None = None) -> Axes:
    """Draw the probabilities ``(N, C)`` of classes as a stack of bars for each of the first inputs.

    Args:
        mean: the probabilities.
        ax: the axes; those of a new figure if None.
    """
    if mean.ndim != 2:
        raise value_error("prediction", expected="classes of inputs, not of places in them", got=mean)
    ax = axes_or_new(ax)
    shown = mean[:_INPUTS].cpu()
    bottom = torch.zeros(len(shown))
    for number in range(shown.shape[1]):
        ax.bar(range(len(shown)), shown[:, number], 1.0, bottom, color=f"C{number % 10}", label=f"class {number}")
        bottom = bottom + shown[:, number]
    ax.set_xlabel("input" if len(mean) == len(shown) else f"input, the first {len(shown)} of {len(mean)}")
    ax.set_ylabel("probability")
    ax.set_xlim(-0.5, len(shown) - 0.5)
    ax.set_ylim(0, 1)
    ax.legend(fontsize="small", ncols=2) if shown.shape[1] <= 10 else None
    return ax


def _running_mean(values: Tensor) -> tuple[Any, Tensor]:
    """Return steps, and the mean of the values of a window that ends there; NaN is left out."""
    window = min(_WINDOW, max(1, len(values) // 4))
    if not len(values):
        return range(len(values)), values
    return range(window - 1, len(values)), values.unfold(0, window, 1).nanmean(1)
