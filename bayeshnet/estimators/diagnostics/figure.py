"""The figure of a diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_figure"]


def draw_figure(verdict: str, information: Mapping[str, float], measurements: Mapping[str, Any]) -> Figure:
    """Draw four panels: mutual information by all methods, singular values of J / sigma, shares, deviation per tensor.

    Args:
        verdict: the title.
        information: as in :class:`~bayeshnet.estimators.Diagnosis`.
        measurements: as in :class:`~bayeshnet.estimators.Diagnosis`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "app", "The figure of a diagnosis") from error
    figure = Figure(figsize=(15, 3.4), layout="constrained")
    figure.suptitle(verdict, fontsize="medium")
    first, second, third, last = figure.subplots(1, 4)
    _information(first, information)
    _spectrum(second, measurements)
    _shares(third, measurements)
    _deviations(last, measurements)
    return figure


def _information(axes: Any, info: Mapping[str, float]) -> None:
    axes.set_title("mutual information")
    if not info:
        axes.set_axis_off()
        return
    axes.axvspan(info["sandwich_lower"], info["sandwich_upper"], color="0.8", label="audit, both sides")
    axes.errorbar(info["livi"], 1, xerr=3 * info["standard_error"], fmt="o", label="LIVI")
    axes.plot(info["sivi"], 0, ">", label="SIVI, a lower bound")
    axes.set(xlabel="nats", yticks=[], ylim=(-1, 2))
    axes.legend(loc="best", fontsize="small")


def _spectrum(axes: Any, measurements: Mapping[str, Any]) -> None:
    axes.set_title("singular values of J / sigma")
    values = measurements.get("singular_values")
    if values is None:
        axes.set_axis_off()
        return
    axes.hist(values.clamp_min(1e-6).log10().tolist(), bins=30)
    axes.axvline(0.0, color="0.3", linestyle=":")
    axes.set(xlabel="log10; right of 0 above the noise", ylabel="count over draws")


def _shares(axes: Any, measurements: Mapping[str, Any]) -> None:
    axes.set_title("shares")
    names = {
        "ess": "effective proposals",
        "share_from_map": "variance from the map",
        "nonlinear_share": "nonlinear part of the map",
        "stein_trace": "covered by kernel scores",
    }
    found = {label: measurements[key] for key, label in names.items() if key in measurements}
    if not found:
        axes.set_axis_off()
        return
    axes.barh(list(found), [min(max(value, 0.0), 1.0) for value in found.values()])
    axes.set(xlim=(0, 1))
    axes.invert_yaxis()


def _deviations(axes: Any, measurements: Mapping[str, Any]) -> None:
    axes.set_title("standard deviation per tensor")
    deviations = measurements.get("std")
    if not deviations:
        axes.set_axis_off()
        return
    names = list(deviations)[:20]
    axes.barh(range(len(names)), [deviations[name] for name in names])
    axes.set(yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
