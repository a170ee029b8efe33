"""The report of a diagnosis: numbers, flags, and the advice that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..accepted import WRITE_LOG_PROB

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ADVICE", "Diagnosis", "advice_for"]

ADVICE = {
    "injective": 'Make the map injective (a linear skip), or take noise="independent", for which there is an audit.',
    "bound": "Distrust LIVI here: use ImportanceSandwich and report the case.",
    "fold": "Train and report with ImportanceSandwich(num_starts=4), or make the map injective (a linear skip).",
    "linearization": "The noise is wide against the bends of the map: lower sigma or use ImportanceSandwich.",
    "modes": "Lower the gain of the hypernetwork, give it a linear skip, or take fewer latents.",
    "precision": "Call double() on the posterior, or raise sigma.",
    "prior": "Take an explicit prior, or a hypernetwork with fewer latents.",
    "width": "Raise num_samples.",
    "point": "Take ClosedForm, whose gradient is that of maximum a-posteriori learning, or a posterior with a density.",
    "collapse": "Check that the estimator's gradient reaches the hypernetwork (SIVI's does not); use LIVI.",
    "density": WRITE_LOG_PROB,
    "conditioning": "Take more latents per step, or start from a better conditioned map (smaller gain, linear skip).",
}
"""Advice for each alarm, the most serious first."""

_DOUBTS = {"modes", "precision", "prior", "width", "injective", "point", "density"}
"""Flags with which the value is not certified."""


@dataclass(frozen=True)
class Diagnosis:
    """The result of :func:`diagnose`; all numbers in nats unless stated otherwise.

    Attributes:
        value: the KL, or None if the posterior has none.
        lower: lower end of its 95 % interval, or None.
        upper: upper end, or None.
        information: mutual information by ``livi``, ``sandwich_lower``, ``sandwich_upper`` and ``sivi``; empty for an
            explicit posterior.
        measurements: effective share of the proposals (``ess``), number of latents that give the same weights
            (``modes``), share of weights whose latent was not found (``missing``), what the KL is at least whatever the
            verdict (``at_least``, see :class:`~bayeshnet.estimators.KLInterval`), ``singular_values`` of J / sigma
            over draws, ``condition`` (largest over smallest), ``share_from_map`` (of the variance; the rest is noise),
            ``nonlinear_share`` of the map, ``effective_rank`` of the samples, ``std`` per weight tensor,
            ``stein_trace``, ``kernel_mean``.
        flags: name -> sentence, for each problem that makes an estimator wrong here.
        advice: the remedy, in a sentence.
    """

    value: float | None
    lower: float | None
    upper: float | None
    information: dict[str, float]
    measurements: dict[str, Any]
    flags: dict[str, str] = field(default_factory=dict)
    advice: str = ""

    @property
    def alarms(self) -> dict[str, str]:
        """The flags that concern the posterior or the value, not only estimators that were not used for it."""
        return {name: text for name, text in self.flags.items() if name in ADVICE}

    @property
    def verdict(self) -> str:
        """``"trusted"`` if the interval contains the KL and is narrow as far as can be told, else ``"not certified"``.

        Alarms that concern the posterior, or another estimator, do not count.
        """
        return "not certified" if _DOUBTS & self.flags.keys() or self.value is None else "trusted"

    @property
    def ok(self) -> bool:
        """True if there is no alarm."""
        return not self.alarms

    def __str__(self) -> str:
        """Render the report as text."""
        return "\n".join(_lines(self))

    def figure(self) -> Figure:
        """Draw the report as a matplotlib figure; needs the extra ``app``."""
        from .figure import draw_figure

        return draw_figure(_verdict(self), self.information, self.measurements)


TRUSTED = {
    "LIVI": "No alarm: take LIVI for training.",
    "ClosedForm": "The KL is exact: take ClosedForm, which Auto chooses, for training and values.",
    "MonteCarlo": "The KL is unbiased: take MonteCarlo for training, and with many samples for values.",
    "ChangeOfVariables": "The KL can be trusted: take ChangeOfVariables for training and values.",
}
"""Advice where there is no alarm, by the estimator that is for such posteriors."""


def advice_for(flags: dict[str, str], estimator: str = "LIVI") -> str:
    """Return the advice for the alarms among ``flags``; if there is none, for the estimator of such posteriors."""
    serious = [ADVICE[name] for name in ADVICE if name in flags]
    return " ".join(serious) if serious else TRUSTED[estimator]


def _verdict(report: Diagnosis) -> str:
    found = "no KL" if report.value is None else f"KL {report.value:.2f} nats"
    if report.lower is not None and report.upper is not None:
        found += f" [{report.lower:.2f}, {report.upper:.2f}], {report.verdict}"
    alarms = "alarm: " + ", ".join(report.alarms) if report.alarms else "no alarm"
    return f"{found}; {alarms}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _lines(report: Diagnosis) -> list[str]:
    info, seen = report.information, report.measurements
    lines = [f"KL {_number(report.value)} nats"]
    if report.lower is not None and report.upper is not None:
        lines[0] += f", 95 % interval [{report.lower:.2f}, {report.upper:.2f}]; {report.verdict}"
    if report.verdict != "trusted" and report.measurements.get("at_least"):
        lines[0] += f", but at least {report.measurements['at_least']:.2f}"
    if info:
        lines += [
            f"  = analytic {seen['analytic']:.2f} +- {seen['analytic_standard_error']:.2f}"
            f" (of which {seen['constant']:.2f} constant) - information",
            f"information  LIVI {info['livi']:.3f}  audit {info['sandwich_lower']:.3f} to {info['sandwich_upper']:.3f}"
            f"  SIVI >= {info['sivi']:.3f} (limit {info['sivi_limit']:.2f})"
            f"  effective proposals {100 * seen['ess']:.0f} %",
            f"map  median condition of J {seen['condition']:.3g}, smallest s / sigma {seen['smallest']:.2f},"
            f" nonlinear {100 * seen['nonlinear_share']:.0f} %,"
            f" variance from the map {100 * seen['share_from_map']:.1f} %",
        ]
    if "effective_rank" in seen:
        deviations = ", ".join(f"{name} {value:.3g}" for name, value in seen["std"].items())
        lines.append(f"samples  effective rank {seen['effective_rank']:.1f}, standard deviations: {deviations}")
        lines.append(f"kernels  mean {seen['kernel_mean']:.3f}, Stein trace {seen['stein_trace']:.3f}")
    lines += [f"{'!' if name in report.alarms else '-'} {name}: {text}" for name, text in report.flags.items()]
    return [*lines, report.advice]
