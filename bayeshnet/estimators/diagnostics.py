"""diagnose(q, p): is this KL right, and is this posterior one? A report in numbers and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributions import Distribution

from ..distributions.dirac import Dirac
from ..distributions.semi_implicit import SemiImplicit
from ..errors import check_int
from ._measurements import kernel_view, map_view, sample_view
from ._split import draw_from, pair
from .auto import Auto
from .latent.importance import ImportanceSandwich
from .latent.sivi import SIVI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found; all numbers in nats unless said.

    Attributes:
        value: the KL, or None where there is none.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        information: mutual information by ``livi``, ``sandwich_lower``, ``sandwich_upper`` and ``sivi``; empty for an
            explicit posterior.
        measurements: effective share of the audit's proposals (``ess``), ``singular_values`` of J / sigma over draws,
            ``condition`` (largest over smallest), ``share_from_map`` (of the variance, the rest is noise),
            ``nonlinear_share`` of the map, ``effective_rank`` of the samples, ``std`` per weight tensor,
            ``stein_trace``, ``kernel_mean``.
        flags: name -> sentence, for each thing that an estimator would get wrong here.
        advice: what to do, in a sentence.
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
        """The flags that concern the posterior or the value reported, and not only estimators that were not used."""
        return {name: text for name, text in self.flags.items() if name in _ADVICE}

    @property
    def ok(self) -> bool:
        """Whether there is no alarm."""
        return not self.alarms

    def __str__(self) -> str:
        """The report as text."""
        return "\n".join(_lines(self))

    def figure(self) -> Figure:
        """The report as a matplotlib figure; needs the extra ``app``."""
        from ._figure import draw_figure

        return draw_figure(self)


@torch.no_grad()
def diagnose(
    q: Distribution | nn.Module,
    p: Distribution | nn.Module,
    num_draws: int = 64,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Audit the KL of a posterior to a prior, and look for what goes wrong with such posteriors.

    For a hypernetwork posterior the mutual information between weights and latent, the one part of its KL that is not
    analytic, is estimated on the same draws by :class:`LIVI`, by :class:`ImportanceSandwich` from both sides and
    several starts, and by :class:`SIVI`. Flagged are folds (LIVI finds more information than there is, so its KL is too
    low), a violated bound, proposals that miss, collapse, an ill-conditioned Jacobian, kernels that are too narrow or
    too wide, and the saturation of SIVI and AVB.

    Args:
        q: posterior, or a module that returns one without a condition.
        p: prior.
        num_draws: weight vectors to look at.
        generator: of all noise.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> report = diagnose(q, FanInGaussian(q.weight_spec), generator=torch.Generator().manual_seed(0))
        >>> report.information["sandwich_lower"] <= report.information["sandwich_upper"]
        True
    """
    posterior, prior = pair(q, p)
    check_int("num_draws", num_draws, 4)
    if isinstance(posterior, SemiImplicit):
        return _diagnose_semi_implicit(posterior, prior, num_draws, generator)
    estimate = Auto(num_draws).estimate(posterior, prior, generator=generator)
    flags: dict[str, str] = {}
    measurements: dict[str, Any] = {"estimator": estimate.diagnostics["choice"]}
    if not isinstance(posterior, Dirac):
        w = draw_from(posterior, num_draws, generator).w
        measurements |= {**sample_view(posterior, w), **kernel_view(posterior, w)}
    folded = estimate.diagnostics.get("folded")
    if folded is not None and float(folded) > 0:
        flags["fold"] = "The map from noise to weights is not injective: its density is too low, the KL too low."
    value = None if estimate.value is None else float(estimate.value)
    return Diagnosis(value, None, None, {}, measurements, flags, _advice(flags))


def _diagnose_semi_implicit(
    q: SemiImplicit, p: Distribution, num_draws: int, generator: torch.Generator | None
) -> Diagnosis:
    audit = ImportanceSandwich(num_draws, 64, num_starts=4).estimate(q, p, generator=generator)
    info = audit.diagnostics["information"]
    draw = q.draw(num_draws, generator)
    sivi = SIVI(num_latents=1000).mutual_information(q, draw, generator)
    z = q.geometry.draw_latent(num_draws, generator)
    error = float(info.standard_error)
    information = {
        "livi": float(info.diagnostics["livi"].mean()),
        "sandwich_lower": float(info.lower),
        "sandwich_upper": float(info.upper),
        "sivi": float(sivi.value),
        "sivi_limit": float(sivi.diagnostics["limit"]),
        "standard_error": error,
        "sivi_standard_error": float(sivi.standard_error) if sivi.standard_error is not None else 0.0,
    }
    measurements = {
        "analytic": float(audit.diagnostics["analytic"]),
        "analytic_standard_error": float(audit.diagnostics["analytic_standard_error"]),
        "constant": float(audit.diagnostics["constant"]),
        "ess": float(info.diagnostics["ess"]),
        **map_view(q, draw, z),
        **sample_view(q, draw.w),
        **kernel_view(q, draw.w),
    }
    value = measurements["analytic"] - information["livi"]
    sides = [None if side is None else float(side) for side in (audit.lower, audit.upper)]
    flags = _flags(information, measurements, sides[0])
    return Diagnosis(value, sides[0], sides[1], information, measurements, flags, _advice(flags))


def _flags(info: dict[str, float], seen: dict[str, Any], lower: float | None) -> dict[str, str]:
    """What an estimator would get wrong, by name."""
    slack = 0.5 + 3 * info["standard_error"]
    found = {}
    excess = info["livi"] - info["sandwich_upper"]
    if excess > slack * 0.5:
        found["fold"] = (
            f"LIVI finds {excess:.2f} nats more information than the audit: several latents make the same weights, "
            "or the map bends within the noise. LIVI's KL is too low by that much."
        )
    if info["sandwich_lower"] - info["livi"] > slack:
        found["linearization"] = "LIVI finds less information than the audit: its KL is too high."
    if info["sivi"] - info["livi"] > 0.5 + 3 * info["sivi_standard_error"]:
        found["bound"] = "SIVI's lower bound on the information is above LIVI's estimate: LIVI is wrong here."
    if seen["ess"] < 0.1:
        found["audit"] = "The audit's proposals miss the latent's posterior: its two sides are not to be trusted."
    if seen["share_from_map"] < 0.01 or info["livi"] < 0.1:
        found["collapse"] = "The generated weights hardly depend on the latent: the posterior has become mean-field."
    if seen["condition"] > 100:
        found["conditioning"] = "Some latent directions hardly move the weights: LIVI's gradient is heavy-tailed."
    if not 1e-3 < seen["kernel_mean"] < 0.99:
        side = "narrow" if seen["kernel_mean"] <= 1e-3 else "wide"
        found["kernel"] = f"The median kernel is too {side} for these samples: SSGE and Stein see nothing."
    if seen["stein_trace"] < 0.5:
        found["kernel_blind"] = (
            f"Kernel scores see {100 * seen['stein_trace']:.1f} % of the dimensions: fine for the hypernetwork's "
            "parameters, useless for sigma."
        )
    if info["sivi"] > info["sivi_limit"] - 1:
        found["sivi_saturated"] = "SIVI is at its limit of log(K + 1) nats: its bound and gradient say nothing."
    if lower is not None and lower > 20:
        found["avb_saturated"] = "Posterior and prior are told apart without error: AVB's KL would be far too low."
    return found


_ADVICE = {
    "bound": "Distrust LIVI here: use ImportanceSandwich and report the case.",
    "fold": "Train and report with ImportanceSandwich(num_starts=4), or make the map injective (a linear skip).",
    "linearization": "The noise is wide against the bends of the map: lower sigma or use ImportanceSandwich.",
    "audit": "Raise num_proposals and num_starts of ImportanceSandwich, or lower sigma.",
    "collapse": "Check that the estimator's gradient reaches the hypernetwork (SIVI's does not); use LIVI.",
    "conditioning": "Take more latents per step, or start from a better conditioned map (smaller gain, linear skip).",
}


def _advice(flags: dict[str, str]) -> str:
    serious = [_ADVICE[name] for name in _ADVICE if name in flags]
    return " ".join(serious) if serious else "The KL can be trusted: take LIVI for training and values."


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _lines(report: Diagnosis) -> list[str]:
    info, seen = report.information, report.measurements
    lines = [f"KL {_number(report.value)} nats"]
    if info:
        lines[0] += f" by LIVI; audit {_number(report.lower)} to {_number(report.upper)}"
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
        spread = ", ".join(f"{name} {value:.3g}" for name, value in seen["std"].items())
        lines.append(f"samples  effective rank {seen['effective_rank']:.1f}, standard deviations: {spread}")
        lines.append(f"kernels  mean {seen['kernel_mean']:.3f}, Stein trace {seen['stein_trace']:.3f}")
    lines += [f"{'!' if name in report.alarms else '-'} {name}: {text}" for name, text in report.flags.items()]
    return [*lines, report.advice]
