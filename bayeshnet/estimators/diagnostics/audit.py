"""The audit of a posterior and its KL."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from ...checks import check_generator
from ...deprecation import renamed_argument
from ...distributions.base import draw_from, has_log_prob
from ...distributions.dirac import Dirac
from ...distributions.semi_implicit import GeneratedWeights, SemiImplicit
from ...errors import check_size
from ..auto import Auto
from ..base import as_pair
from ..latent.importance import ImportanceSandwich
from ..latent.sivi import SIVI
from .measurements import kernel_view, map_view, sample_view
from .report import Diagnosis, advice_for

__all__ = ["diagnose"]


@torch.no_grad()
def diagnose(
    q: Distribution | nn.Module,
    p: Distribution | nn.Module,
    num_samples: int = 64,
    generator: torch.Generator | None = None,
    *,
    num_draws: int | None = None,
) -> Diagnosis:
    """Audit the KL of a posterior to a prior, and look for the known failures of such posteriors and their estimators.

    For a hypernetwork posterior the mutual information between weights and latent, the one part of its KL that is not
    analytic, is estimated on the same draws by :class:`LIVI`, by :class:`ImportanceSandwich` from both sides and
    several starts, and by :class:`SIVI`. The flags report folds (LIVI finds more information than there is, so its KL
    is too low), a violated bound, proposals that miss the modes, collapse, an ill-conditioned Jacobian, kernels that
    are too narrow or too wide, and the saturation of SIVI and AVB.

    Args:
        q: posterior, or a module that returns one without a condition.
        p: prior.
        num_samples: weight vectors to draw, at least 4.
        generator: of all noise.
        num_draws: old name of ``num_samples``.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> report = diagnose(q, FanInGaussian(q.weight_spec), generator=torch.Generator().manual_seed(0))
        >>> report.information["sandwich_lower"] <= report.information["sandwich_upper"]
        True
    """
    if num_draws is not None:
        num_samples = renamed_argument("num_draws", "num_samples", num_draws, None, stacklevel=5)
    posterior, prior = as_pair(q, p)
    check_size("num_samples", num_samples, 4)
    check_generator(generator)
    if isinstance(posterior, SemiImplicit):
        return _diagnose_semi_implicit(posterior, prior, num_samples, generator)
    if not has_log_prob(posterior) and not isinstance(posterior, GeneratedWeights):
        return _diagnose_samples(posterior, num_samples, generator)
    estimate = Auto(num_samples).estimate(posterior, prior, generator=generator)
    flags: dict[str, str] = {}
    measurements: dict[str, Any] = {"estimator": estimate.diagnostics["choice"]}
    if not isinstance(posterior, Dirac):
        w = draw_from(posterior, num_samples, generator).w
        measurements |= {**sample_view(posterior, w), **kernel_view(posterior, w)}
    folded = estimate.diagnostics.get("folded")
    if folded is not None and float(folded) > 0:
        flags["fold"] = "The map from noise to weights is not injective: its density is too low, the KL too low."
    value = None if estimate.value is None else float(estimate.value)
    advice = advice_for(flags, measurements["estimator"] if value is not None else "Dirac")
    return Diagnosis(value, None, None, {}, measurements, flags, advice)


def _diagnose_samples(q: Distribution, num_samples: int, generator: torch.Generator | None) -> Diagnosis:
    """Report on a posterior of which only draws are known: its KL has no value."""
    w = draw_from(q, num_samples, generator).w
    measurements: dict[str, Any] = {"estimator": None, **sample_view(q, w), **kernel_view(q, w)}
    share = 100 * measurements["stein_trace"]
    text = f"{type(q).__name__} has no log_prob: kernel scores of its samples cover {share:.1f} % of the dimensions."
    flags = {"density": text}
    return Diagnosis(None, None, None, {}, measurements, flags, advice_for(flags))


def _diagnose_semi_implicit(
    q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
) -> Diagnosis:
    audit = ImportanceSandwich(num_samples, 64, num_starts=4).estimate(q, p, generator=generator)
    info = audit.diagnostics["information"]
    draw = q.draw(num_samples, generator)
    sivi = SIVI(num_latents=1000).mutual_information(q, draw, generator)
    z = q.geometry.draw_latent(num_samples, generator)
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
    return Diagnosis(value, sides[0], sides[1], information, measurements, flags, advice_for(flags))


def _flags(info: dict[str, float], seen: dict[str, Any], lower: float | None) -> dict[str, str]:
    """Return the problems that make an estimator wrong, by name."""
    slack = 0.5 + 3 * info["standard_error"]
    found = {}
    excess = info["livi"] - info["sandwich_upper"]
    if excess > slack * 0.5:
        found["fold"] = (
            f"LIVI finds {excess:.2f} nats more information than the audit: several latents give the same weights, "
            "or the map bends within the noise. LIVI's KL is too low by that much."
        )
    if info["sandwich_lower"] - info["livi"] > slack:
        found["linearization"] = "LIVI finds less information than the audit: its KL is too high."
    if info["sivi"] - info["livi"] > 0.5 + 3 * info["sivi_standard_error"]:
        found["bound"] = "SIVI's lower bound of the information is above LIVI's estimate: LIVI is wrong here."
    if seen["ess"] < 0.1:
        found["audit"] = "The audit's proposals miss the latent's posterior: do not trust its two sides."
    if seen["share_from_map"] < 0.01 or info["livi"] < 0.1:
        found["collapse"] = "The generated weights hardly depend on the latent: the posterior has become mean-field."
    if seen["condition"] > 100:
        found["conditioning"] = "Some latent directions hardly move the weights: LIVI's gradient is heavy-tailed."
    if not 1e-3 < seen["kernel_mean"] < 0.99:
        side = "narrow" if seen["kernel_mean"] <= 1e-3 else "wide"
        found["kernel"] = f"The median kernel is too {side} for these samples: SSGE and Stein get no signal."
    if seen["stein_trace"] < 0.5:
        found["kernel_blind"] = (
            f"Kernel scores cover {100 * seen['stein_trace']:.1f} % of the dimensions: fine for the hypernetwork's "
            "parameters, useless for sigma."
        )
    if info["sivi"] > info["sivi_limit"] - 1:
        found["sivi_saturated"] = "SIVI is at its limit of log(K + 1) nats: its bound and gradient are uninformative."
    if lower is not None and lower > 20:
        found["avb_saturated"] = (
            "A classifier separates posterior and prior without error: AVB's KL would be far too low."
        )
    return found
