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
from ..accepted import drawn_whole
from ..analytic import conditional_kl
from ..auto import Auto
from ..base import as_pair
from ..intervals.doubled import in_double
from ..intervals.interval import TRUSTED_WIDTH, kl_interval
from ..intervals.precision import lost_precision
from ..intervals.quasi_random import Mean
from ..intervals.reduced import reduced
from ..latent.sivi import SIVI
from ..noise import noise_entropy
from .measurements import kernel_view, map_view, sample_view
from .report import Diagnosis, advice_for

__all__ = ["diagnose"]

_VIEWED = 64
"""Weight vectors that are looked at besides the KL."""
_MOST = 2**27
"""Numbers that are generated at once."""


@torch.no_grad()
def diagnose(
    q: Distribution | nn.Module,
    p: Distribution | nn.Module,
    num_samples: int = 1024,
    generator: torch.Generator | None = None,
    *,
    quick: bool = False,
    num_draws: int | None = None,
) -> Diagnosis:
    """Audit the KL of a posterior to a prior, and look for the known failures of such posteriors and their estimators.

    For a hypernetwork posterior value and interval are those of :func:`kl_interval`, which searches the latents of the
    drawn weights without knowing them and counts every error; the verdict is ``"trusted"`` only if the interval is
    narrow and the search has settled. The alarms report folds (LIVI finds more information than there is, so its KL is
    too low), modes that the search misses, too low a precision, collapse, and an ill-conditioned Jacobian; further
    flags tell of estimators that would be wrong here: SIVI and AVB at their limits, kernels that are too narrow or too
    wide.

    To a density of one, which is improper, the KL is the negative entropy; it alone may be negative. Where the KL has a
    closed form the interval is that one number. A Monte Carlo estimate has the interval of its
    standard error.

    Args:
        q: posterior, or a module that returns one without a condition.
        p: prior.
        num_samples: largest number of weight vectors to draw, at least 4.
        generator: of all noise.
        quick: as for :func:`kl_interval`.
        num_draws: old name of ``num_samples``.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> report = diagnose(q, FanInGaussian(q.weight_spec), generator=torch.Generator().manual_seed(0))
        >>> report.verdict, report.lower < report.value < report.upper
        ('trusted', True)
    """
    if num_draws is not None:
        num_samples = renamed_argument("num_draws", "num_samples", num_draws, None, stacklevel=5)
    posterior, prior = map(drawn_whole, as_pair(q, p))
    check_size("num_samples", num_samples, 4)
    check_generator(generator)
    if isinstance(posterior, SemiImplicit):
        return _diagnose_semi_implicit(posterior, prior, num_samples, generator, quick)
    if not has_log_prob(posterior) and not isinstance(posterior, GeneratedWeights):
        return _diagnose_samples(posterior, num_samples, generator)
    estimate = Auto(num_samples).estimate(posterior, prior, generator=generator)
    flags: dict[str, str] = {}
    measurements: dict[str, Any] = {"estimator": estimate.diagnostics["choice"]}
    if isinstance(prior, SemiImplicit) and not prior.geometry.is_affine:
        flags["prior"] = "The density of the prior, a hypernetwork, is too low where modes are missed: the KL too high."
    if not isinstance(posterior, Dirac):
        w = draw_from(posterior, min(num_samples, _VIEWED), generator).w
        measurements |= {**sample_view(posterior, w), **kernel_view(posterior, w)}
    folded = estimate.diagnostics.get("folded")
    if folded is not None and float(folded) > 0:
        flags["injective"] = "The map from noise to weights is not injective: its density is too low, the KL too low."
    if estimate.value is None:
        flags["point"] = "A point has no density and therefore no KL."
        return Diagnosis(None, None, None, {}, measurements, flags, advice_for(flags))
    value, error = float(estimate.value), estimate.diagnostics.get("standard_error")
    half = 0.0 if error is None else Mean(0.0, float(error), num_samples - 1.0).half_width(0.95)
    if 2 * half > TRUSTED_WIDTH:
        flags["width"] = f"The interval is {2 * half:.2f} nats wide."
    advice = advice_for(flags, measurements["estimator"])
    return Diagnosis(value, value - half, value + half, {}, measurements, flags, advice)


def _diagnose_samples(q: Distribution, num_samples: int, generator: torch.Generator | None) -> Diagnosis:
    """Report on a posterior of which only draws are known: its KL has no value."""
    w = draw_from(q, min(num_samples, _VIEWED), generator).w
    measurements: dict[str, Any] = {"estimator": None, **sample_view(q, w), **kernel_view(q, w)}
    share = 100 * measurements["stein_trace"]
    text = f"{type(q).__name__} has no log_prob: kernel scores of its samples cover {share:.1f} % of the dimensions."
    flags = {"density": text}
    return Diagnosis(None, None, None, {}, measurements, flags, advice_for(flags))


def _diagnose_semi_implicit(
    q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None, quick: bool
) -> Diagnosis:
    refused = lost_precision(in_double(q))
    if refused is not None:
        flags = {"precision": f"The map is {refused}."}
        return Diagnosis(None, None, None, {}, {"estimator": "none"}, flags, advice_for(flags))
    interval = kl_interval(q, p, num_samples, quick=quick, generator=generator)
    info = interval.information
    num = min(num_samples, _VIEWED)
    draw = q.draw(num, generator)
    sivi = SIVI(num_latents=_sivi_latents(q, num)).mutual_information(q, draw, generator)
    z = q.geometry.draw_latent(num, generator)
    information = {
        "livi": info.linearized.value,
        "sandwich_lower": info.lower.value,
        "sandwich_upper": info.upper.value,
        "sivi": float(sivi.value),
        "sivi_limit": float(sivi.diagnostics["limit"]),
        "standard_error": max(info.lower.error, info.upper.error),
        "sivi_standard_error": float(sivi.standard_error) if sivi.standard_error is not None else 0.0,
    }
    gaussian = conditional_kl(q, p)
    measurements = {
        "analytic": interval.analytic.value,
        "analytic_standard_error": interval.analytic.error,
        "constant": float(noise_entropy(q)) * -1 if gaussian is None else float(gaussian.constant),
        "ess": info.ess,
        "modes": info.modes,
        "missing": info.missing,
        "at_least": interval.at_least,
        **map_view(q, draw, z),
        **sample_view(q, draw.w),
        **kernel_view(q, draw.w),
    }
    flags = {**interval.reasons, **_flags(information, measurements, interval.lower)}
    return Diagnosis(
        interval.value, interval.lower, interval.upper, information, measurements, flags, advice_for(flags)
    )


def _sivi_latents(q: SemiImplicit, num: int) -> int:
    """Return the number of latents of SIVI: fewer where all their weights have to be generated for each draw."""
    size = q.geometry.num_weights
    return 1000 if reduced(in_double(q)).geometry.num_weights < size else max(16, min(1000, _MOST // (num * size)))


def _flags(info: dict[str, float], seen: dict[str, Any], lower: float | None) -> dict[str, str]:
    """Return the problems that make an estimator wrong, by name."""
    slack = 0.5 + 3 * info["standard_error"]
    found = {}
    excess = info["livi"] - info["sandwich_upper"]
    if excess > 0.5 * slack:
        found["fold"] = (
            f"LIVI finds {excess:.2f} nats more information than the audit: several latents give the same weights, "
            "or the map bends within the noise. LIVI's KL is too low by that much."
        )
    if info["sandwich_lower"] - info["livi"] > slack:
        found["linearization"] = "LIVI finds less information than the audit: its KL is too high."
    if info["sivi"] - info["livi"] > 0.5 + 3 * info["sivi_standard_error"]:
        found["bound"] = "SIVI's lower bound of the information is above LIVI's estimate: LIVI is wrong here."
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
