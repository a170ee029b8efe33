"""The figure of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .diagnostics import Diagnosis

__all__ = ["draw_figure"]


def draw_figure(report: Diagnosis) -> Figure:
    """Four panels: the information from all sides, the singular values of J / sigma, shares, the spread per tensor."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "app", "The figure of a diagnosis") from error
    figure = Figure(figsize=(15, 3.4), layout="constrained")
    figure.suptitle(_verdict(report), fontsize="medium")
    first, second, third, last = figure.subplots(1, 4)
    _information(first, report)
    _spectrum(second, report)
    _shares(third, report)
    _spread(last, report)
    return figure


def _verdict(report: Diagnosis) -> str:
    found = "no KL" if report.value is None else f"KL {report.value:.2f} nats"
    if report.lower is not None and report.upper is not None:
        found += f", audit {report.lower:.2f} to {report.upper:.2f}"
    alarms = "alarm: " + ", ".join(report.alarms) if report.alarms else "no alarm"
    return f"{found}; {alarms}"


def _information(axes: Any, report: Diagnosis) -> None:
    info = report.information
    axes.set_title("mutual information")
    if not info:
        axes.set_axis_off()
        return
    axes.axvspan(info["sandwich_lower"], info["sandwich_upper"], color="0.8", label="audit, both sides")
    axes.errorbar(info["livi"], 1, xerr=3 * info["standard_error"], fmt="o", label="LIVI")
    axes.plot(info["sivi"], 0, ">", label="SIVI, a lower bound")
    axes.set(xlabel="nats", yticks=[], ylim=(-1, 2))
    axes.legend(loc="best", fontsize="small")


def _spectrum(axes: Any, report: Diagnosis) -> None:
    axes.set_title("singular values of J / sigma")
    values = report.measurements.get("singular_values")
    if values is None:
        axes.set_axis_off()
        return
    axes.hist(values.clamp_min(1e-6).log10().tolist(), bins=30)
    axes.axvline(0.0, color="0.3", linestyle=":")
    axes.set(xlabel="log10; right of 0 above the noise", ylabel="count over draws")


def _shares(axes: Any, report: Diagnosis) -> None:
    axes.set_title("shares")
    names = {
        "ess": "proposals that count",
        "share_from_map": "variance from the map",
        "nonlinear_share": "nonlinear part of the map",
        "stein_trace": "dimensions kernels see",
    }
    found = {label: report.measurements[key] for key, label in names.items() if key in report.measurements}
    if not found:
        axes.set_axis_off()
        return
    axes.barh(list(found), [min(max(value, 0.0), 1.0) for value in found.values()])
    axes.set(xlim=(0, 1))
    axes.invert_yaxis()


def _spread(axes: Any, report: Diagnosis) -> None:
    axes.set_title("standard deviation per tensor")
    spread = report.measurements.get("std")
    if not spread:
        axes.set_axis_off()
        return
    names = list(spread)[:20]
    axes.barh(range(len(names)), [spread[name] for name in names])
    axes.set(yticks=range(len(names)), yticklabels=names)
    axes.invert_yaxis()
