"""The KL of a hypernetwork posterior with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution

from ...checks import check_generator
from ...distributions.flat import Flat
from ...distributions.semi_implicit import SemiImplicit
from ...errors import check_flags, check_number, check_size, value_error
from ..accepted import drawn_whole, semi_implicit
from ..base import as_pair
from .analytic_mean import AnalyticMean, mean_analytic_part
from .complement import complement_kl
from .doubled import in_double
from .information import InformationBounds, bound_information, exact_information
from .precision import lost_precision
from .quasi_random import Mean

__all__ = ["KLInterval", "kl_interval"]

TRUSTED_WIDTH = 0.8
"""Nats that the interval of a trusted KL may be wide."""

_MISSING, _NARROW = (0.005, 0.03), 0.5
"""Shares of weights from latents where no mode was found: the least that counts, and the most where the interval is so
narrow in nats. A missed share m of the mass moves log q(w) by log(1 - m) where other modes are found; where none is,
both sides part, which widens the interval."""

_ROUNDING = 1e-3
_TAILS = 0.01
"""Nats added to each side, unless it is known exactly: standard errors of few blocks have errors of their own."""


@dataclass(frozen=True)
class KLInterval:
    r"""The KL of a hypernetwork posterior, in nats, with an interval.

    Attributes:
        value: the middle between the two sides.
        lower: end of the interval, at least 0 unless the prior is improper. The mean above it is a lower bound in
            expectation, unless the prior is a hypernetwork itself: see ``at_least``.
        upper: end of the interval. The mean below it is an upper bound in expectation.
        level: confidence of the interval.
        analytic: :math:`E_z \mathrm{KL}(N(h(z), \sigma^2) \| p)` with its standard error.
        information: bounds of the mutual information; for an affine map both are exact.
        reasons: why the value is not certified, a sentence each by name; empty if it is trusted.
        at_least: the KL is at least that much at this confidence, certified or not: the end of an interval whose mean
            is a lower bound in expectation, whatever the searches miss. For a prior that is a hypernetwork itself that
            of the directions in which it is a Gaussian; None if there are none that are known.
    """

    value: float
    lower: float
    upper: float
    level: float
    analytic: Mean
    information: InformationBounds
    reasons: dict[str, str]
    at_least: float | None = None

    @property
    def width(self) -> float:
        """Width of the interval."""
        return self.upper - self.lower

    @property
    def verdict(self) -> str:
        """``"trusted"`` if the interval is narrow and nothing speaks against it, else ``"not certified"``."""
        return "not certified" if self.reasons else "trusted"


def kl_interval(
    q: Distribution | nn.Module,
    p: Distribution | nn.Module,
    num_samples: int = 1024,
    *,
    level: float = 0.95,
    target: float = 0.08,
    quick: bool = False,
    generator: torch.Generator | None = None,
) -> KLInterval:
    r"""Estimate ``KL(q || p)`` of a hypernetwork posterior with an interval that includes all errors of estimation.

    With the mutual information between the two sides of :func:`bound_information`,

    .. math:: \mathrm{KL}(q \| p) = E_z\, \mathrm{KL}(N(h(z), \sigma^2) \| p) - I(w; z) .

    The first term is a mean over thousands of latents by randomized quasi-Monte Carlo, exact where the map is affine.
    The modes of the latent are searched from the weights alone, so whatever the search misses widens the interval and
    does not move it. All is computed in double precision from the posterior's parameters.

    For an explicit prior that is not Gaussian, one draw of the noise goes with each latent. The density of a prior that
    is a hypernetwork itself is searched twice, independently; what a second search adds widens the interval. What
    neither finds is a KL that is too high; :attr:`KLInterval.at_least` is a bound in any case.

    Args:
        q: posterior made by a hypernetwork, or a module that returns one without a condition.
        p: prior over as many weights, or such a module.
        num_samples: largest number of weight vectors to draw.
        level: confidence of the interval.
        target: half-width in nats at which no further weights are drawn.
        quick: search modes with the lowest efforts alone; where they do not settle, the KL is not certified.
        generator: of all noise.

    Raises:
        ValueError: if the map cannot be copied in double precision and its own cannot hold its singular values.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> found = kl_interval(q, FanInGaussian(q.weight_spec), generator=torch.Generator().manual_seed(0))
        >>> found.lower < found.value < found.upper
        True
    """
    check_size("num_samples", num_samples, 2)
    check_number("target", target, 0.0)
    if not 0.5 <= check_number("level", level) < 1:
        raise value_error("level", expected="a probability from 0.5 up to, not including, 1", got=level)
    check_flags(quick=quick)
    check_generator(generator)
    posterior, prior = map(drawn_whole, as_pair(q, p))
    accepted = semi_implicit(posterior, "kl_interval")
    with torch.inference_mode(False), torch.no_grad():  # copies can be differentiated, in inference mode too
        accepted, prior = in_double((accepted, prior))
        return _interval(accepted, prior, num_samples, _Wanted(level, target, bool(quick)), generator)


@dataclass(frozen=True)
class _Wanted:
    """The confidence of an interval, the half-width at which no more weights are drawn, and whether time is short."""

    level: float
    target: float
    quick: bool


def _interval(
    q: SemiImplicit, p: Distribution, num_samples: int, wanted: _Wanted, generator: torch.Generator | None
) -> KLInterval:
    refused = lost_precision(q)
    if refused is not None:
        raise value_error("q", expected="a map whose density its precision can hold", found=refused)
    level = wanted.level
    analytic = mean_analytic_part(q, p, wanted.target / 4, generator, num_samples, quick=wanted.quick)
    if q.geometry.is_affine:
        information = exact_information(q)
    else:
        information = bound_information(q, wanted.target, num_samples, level, generator, quick=wanted.quick)
    upper, lower = analytic.high + -information.lower, analytic.low + -information.upper
    slack = _ROUNDING + 1e-9 * abs(analytic.high.value)
    least = -math.inf if isinstance(p, Flat) else 0.0
    low = max(least, lower.value - _half_width(lower, level) - slack)
    top = upper.value + _half_width(upper, level) + slack
    high = max(least, top)
    value = min(max(0.5 * (lower.value + upper.value), low), high)
    reasons = _reasons(analytic, information, high - low)
    if top < least:
        doubted = "prior" if isinstance(p, SemiImplicit) else "width"
        reasons.setdefault(doubted, "The interval lies below 0, where no KL is: an error of it is too small.")
    at_least: float | None = low
    if isinstance(p, SemiImplicit) and not p.geometry.is_affine:
        at_least = _at_least(q, p, num_samples, wanted, generator)
    return KLInterval(value, low, high, level, analytic.middle, information, reasons, at_least)


def _at_least(
    q: SemiImplicit, p: SemiImplicit, num_samples: int, wanted: _Wanted, generator: torch.Generator | None
) -> float | None:
    """Return the end of the interval of a lower bound of the KL to a hypernetwork, at least 0."""
    side = complement_kl(q, p, wanted.target, wanted.level, generator, num_samples, quick=wanted.quick)
    return None if side is None else max(0.0, side.value - _half_width(side, wanted.level) - _ROUNDING)


def _half_width(side: Mean, level: float) -> float:
    return side.half_width(level) + min(_TAILS, 10 * side.error)


def _reasons(analytic: AnalyticMean, info: InformationBounds, width: float) -> dict[str, str]:
    found: dict[str, str] = {}
    if info.missing > _MISSING[0 if width > _NARROW else 1]:
        found["modes"] = (
            f"{100 * info.missing:.1f} % of the weights come from latents where the search found no mode: more latents "
            "give the same weights than were found."
        )
    if analytic.doubt is not None:
        found["prior"] = analytic.doubt
    if width > TRUSTED_WIDTH and not found:
        found["width"] = f"The interval is {width:.2f} nats wide."
    return found
