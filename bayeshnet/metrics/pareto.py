"""Importance weights and their reliability: generalized Pareto fits, smoothed weights, effective sample sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import value_error
from ._checks import check_numbers, check_values

__all__ = ["ParetoSmoothing", "fit_generalized_pareto", "pareto_smoothing"]

_LEAST, _PRIOR_WEIGHT, _PRIOR_SHAPE = 5, 10, 0.5
_EQUAL = 1e-6


@dataclass(frozen=True)
class ParetoSmoothing:
    """The result of :func:`pareto_smoothing`.

    Attributes:
        log_weights: normalized, smoothed log-weights ``(S,)``, in double precision.
        k_hat: shape of the tail of the raw weights. Below 0.5 importance sampling is as good as it looks, up to 0.7 it
            is usable, beyond 0.7 no number of draws makes it reliable; -1 for weights that are equal.
        effective: effective sample size of the smoothed weights, between 1 and ``S``.
        log_mean: logarithm of the mean of the raw weights, in nats: of a posterior's, an estimate of the log-evidence.
    """

    log_weights: Tensor
    k_hat: float
    effective: float
    log_mean: float


@torch.no_grad()
def fit_generalized_pareto(exceedances: Tensor) -> tuple[float, float]:
    r"""Fit shape ``k`` and scale of a generalized Pareto distribution to positive numbers ``(M,)``.

    The density is :math:`\frac1s (1 + k x / s)^{-1/k - 1}`: heavier-tailed for larger ``k``, exponential for 0. The
    estimate averages the profile likelihood over a grid of :math:`30 + \lfloor\sqrt M\rfloor` values of :math:`-k / s`
    under a weak prior; it has no failures to converge.

    Args:
        exceedances: at least five positive, finite numbers.

    Returns:
        ``k`` and ``s``.

    References:
        Zhang, Stephens, "A new and efficient estimation method for the generalized Pareto distribution", 2009.

    Example:
        >>> u = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> k, scale = fit_generalized_pareto(2.0 * (u**-0.5 - 1) / 0.5)
        >>> round(k, 1), round(scale, 1)
        (0.5, 2.0)
    """
    x = check_numbers("exceedances", exceedances, "a floating tensor (M,)").double()
    if x.ndim != 1 or len(x) < _LEAST or not bool((x > 0).all()):
        raise value_error("exceedances", expected=f"at least {_LEAST} positive numbers (M,)", got=exceedances)
    x, num = x.sort().values, len(x)
    unit = float(x[-1])
    if not bool(x[0] / unit > 0):
        raise value_error("exceedances", expected="numbers of sizes that can be compared", got=exceedances)
    x = x / unit  # the estimate is equivariant; sums of tiny or huge numbers are not safe
    grid = 30 + math.isqrt(num)
    quarter = x[int(num / 4 + 0.5) - 1]
    place = torch.arange(1, grid + 1, dtype=x.dtype, device=x.device)
    b = 1 / x[-1] + (1 - (grid / (place - 0.5)).sqrt()) / (3 * quarter)
    shape = torch.log1p(-b.unsqueeze(-1) * x).mean(-1)
    profile = num * ((-b / shape).log() - shape - 1)
    mean = float((b * profile.nan_to_num(nan=-math.inf).softmax(0)).sum())
    k = float(torch.log1p(-mean * x).mean())
    return k, -k / mean * unit


@torch.no_grad()
def pareto_smoothing(log_ratios: Tensor) -> ParetoSmoothing:
    r"""Smooth importance weights, given by their logarithms ``(S,)``, and judge them by the shape of their tail.

    The largest :math:`\min(S / 5, 3 \sqrt S)` weights are replaced by the expected order statistics of a generalized
    Pareto distribution fitted to them, at most the largest raw weight. Its shape, ``k_hat``, drawn a little towards
    0.5 as ten weights would, says how many moments the weights have: :math:`1 / \hat k`.

    Args:
        log_ratios: :math:`\log p(\theta_s) - \log q(\theta_s)` of draws from ``q``, up to a constant; at least 25.
            Minus infinity is a weight of zero.

    References:
        Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", 2024.

    Example:
        >>> normal = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> narrow = torch.distributions.Normal(0.0, 0.5).log_prob(normal * 0.5)
        >>> wide = torch.distributions.Normal(0.0, 1.0).log_prob(normal * 0.5)
        >>> pareto_smoothing(wide - narrow).k_hat > 0.5
        True
    """
    raw = _checked(log_ratios)
    num = len(raw)
    top = raw.max()
    log_mean = float(top + (raw - top).exp().mean().log())
    logs = raw - top
    size = min(num // 5, math.ceil(3 * math.sqrt(num)))
    order = logs.argsort()
    tail, cut = order[-size:], logs[order[-size - 1]]
    cut = cut.clamp_min(math.log(torch.finfo(logs.dtype).tiny))
    exceedances = logs[tail].exp() - cut.exp()
    k_hat = -1.0
    if bool(exceedances[-1] > _EQUAL):
        if bool(exceedances[0] > 0):
            k, scale = fit_generalized_pareto(exceedances)
        else:  # ties at the threshold, or weights that vanish beside the largest
            k, scale = fit_generalized_pareto(exceedances.clamp_min(1e-12 * float(exceedances[-1])))
        k_hat = (k * size + _PRIOR_WEIGHT * _PRIOR_SHAPE) / (size + _PRIOR_WEIGHT)
        part = (torch.arange(1, size + 1, dtype=logs.dtype, device=logs.device) - 0.5) / size
        quantiles = (
            scale * torch.expm1(-k_hat * torch.log1p(-part)) / k_hat
            if abs(k_hat) > 1e-12
            else scale * -(torch.log1p(-part))
        )
        logs = logs.index_copy(0, tail, (cut.exp() + quantiles).log().clamp_max(0.0))
    weights = logs.log_softmax(0)
    return ParetoSmoothing(weights, k_hat, float((-torch.logsumexp(2 * weights, 0)).exp()), log_mean)


def _checked(log_ratios: Tensor) -> Tensor:
    """Return log-weights in double precision, of which one at least is finite."""
    expected = "at least 25 log-weights (S,), finite or minus infinity, not all of them the latter"
    given = check_values("log_ratios", log_ratios, expected)
    zero = torch.isneginf(given)
    values = check_numbers("log_ratios", given.masked_fill(zero, 0.0), expected).double()
    if values.ndim != 1 or len(values) < 25 or bool(zero.all()):
        raise value_error("log_ratios", expected=expected, got=log_ratios)
    return values.masked_fill(zero, -math.inf)
