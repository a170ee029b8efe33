"""Metrics of predictive distributions of values: RMSE, log-likelihood, coverage, CRPS.

Values are ``(N, C)``: ``N`` examples of ``C`` targets. Everywhere ``(N,)`` stands for a single target, ``(N, 1)``: the
``mean``, ``std`` and ``samples`` of a :class:`~bayeshnet.inference.Prediction` are scored as they are. A standard
deviation ``(N,)`` beside several targets is refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import check_number, value_error
from ._checks import check_mean, check_no_overflow, check_scale, check_targets

__all__ = [
    "coverage",
    "crps",
    "gaussian_coverage",
    "gaussian_crps",
    "gaussian_log_likelihood",
    "mse",
    "rmse",
    "sample_log_likelihood",
]

_QUANTILE_LIMIT = 16_000_000  # torch.quantile takes no more numbers at once.


def mse(mean: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared error of the predictive mean over examples and outputs.

    Args:
        mean: predicted values ``(N, C)``.
        y: true values ``(N, C)``.
    """
    mean, y = _pair(mean, y)
    return check_no_overflow("y", (mean - y).square().mean())


def rmse(mean: Tensor, y: Tensor) -> Tensor:
    """Compute the root of the mean squared error, in the units of the targets.

    Example:
        >>> rmse(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(1.4142)
    """
    return mse(mean, y).sqrt()


def gaussian_log_likelihood(mean: Tensor, std: Tensor | float, y: Tensor) -> Tensor:
    r"""Compute the mean over examples of :math:`\sum_c \log N(y_c; \mu_c, \sigma_c^2)`, in nats.

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations, including noise: a number, ``(N,)`` for a single target, or a tensor that
            broadcasts against the means.
        y: true values ``(N, C)``.

    Example:
        >>> gaussian_log_likelihood(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
        tensor(-0.9189)
    """
    mean, y = _pair(mean, y)
    std = check_scale("std", std, mean)
    z = (y - mean) / std
    each = -0.5 * z.square() - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return check_no_overflow("y", each.flatten(1).sum(-1).mean())


def sample_log_likelihood(samples: Tensor, noise_std: Tensor | float, y: Tensor) -> Tensor:
    r"""Compute the mean over examples of :math:`\log \frac1S \sum_s \prod_c N(y_c; f_{sc}, \tau^2)`, in nats.

    Args:
        samples: predictions under ``S`` weight vectors ``(S, N, C)``, without noise.
        noise_std: standard deviation :math:`\tau` of the noise, a number or a tensor that broadcasts against
            ``samples``.
        y: true values ``(N, C)``.

    Example:
        >>> sample_log_likelihood(torch.zeros(4, 1, 1), 1.0, torch.zeros(1, 1))
        tensor(-0.9189)
    """
    samples, y = _samples(samples, y)
    noise = check_scale("noise_std", noise_std, samples)
    z = (samples - y) / noise
    each = (-0.5 * z.square() - noise.log() - 0.5 * math.log(2 * math.pi)).flatten(2).sum(-1)
    return check_no_overflow("y", (each.logsumexp(0) - math.log(len(samples))).mean())


def coverage(samples: Tensor, y: Tensor, level: float = 0.95) -> Tensor:
    """Compute the fraction of true values inside the central interval that contains ``level`` of the samples.

    Args:
        samples: draws of the predictive distribution ``(S, N, C)``, including noise.
        y: true values ``(N, C)``.
        level: probability of the interval, from 0 to 1; the coverage of calibrated predictions is the same.

    Example:
        >>> coverage(torch.linspace(0, 1, 101)[:, None, None], torch.tensor([[0.5]]), 0.9)
        tensor(1.)
    """
    check_number("level", level, 0, 1)
    samples, y = _samples(samples, y)
    if len(samples) > _QUANTILE_LIMIT:
        raise value_error("samples", expected=f"at most {_QUANTILE_LIMIT} draws", got=samples)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype, device=samples.device)
    parts = samples.flatten(1).split(max(1, _QUANTILE_LIMIT // len(samples)), dim=1)
    low, high = torch.cat([torch.quantile(part, tails, dim=0) for part in parts], 1)
    check_no_overflow("samples", high - low)
    y = y.flatten()
    found: Tensor = ((low <= y) & (y <= high)).to(samples.dtype).mean()
    return found


def gaussian_coverage(mean: Tensor, std: Tensor | float, y: Tensor, level: float = 0.95) -> Tensor:
    r"""Compute the fraction of true values within :math:`\mu \pm z \sigma`, which contains ``level`` of the Gaussian.

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations, including noise: a number, ``(N,)`` for a single target, or a tensor that
            broadcasts against the means.
        y: true values ``(N, C)``.
        level: probability of the interval, from 0 to 1; the coverage of calibrated predictions is the same.

    Example:
        >>> gaussian_coverage(torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([[1.9], [2.0]]))
        tensor(0.5000)
    """
    check_number("level", level, 0, 1)
    mean, y = _pair(mean, y)
    std = check_scale("std", std, mean)
    width = math.sqrt(2) * torch.erfinv(torch.as_tensor(level, dtype=mean.dtype, device=mean.device))
    return (check_no_overflow("y", y - mean).abs() <= width * std).to(mean.dtype).mean()


def crps(samples: Tensor, y: Tensor) -> Tensor:
    r"""Compute the continuous ranked probability score of samples, in the units of the targets; 0 is best.

    .. math:: \frac1S \sum_s |x_s - y| - \frac1{2 S^2} \sum_{s,t} |x_s - x_t|

    averaged over examples and outputs. The double sum is computed from the sorted samples in :math:`O(S \log S)`, as
    :math:`\frac{2}{S^2} \sum_s (2s - S - 1)\, x_{(s)}`.

    Args:
        samples: draws of the predictive distribution ``(S, N, C)``, including noise.
        y: true values ``(N, C)``.

    References:
        Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting, Raftery; 2007).

    Example:
        >>> crps(torch.tensor([[[0.0]], [[2.0]]]), torch.tensor([[1.0]]))
        tensor(0.5000)
    """
    samples, y = _samples(samples, y)
    size = len(samples)
    ordered = samples.sort(0).values
    ranks = torch.arange(1, size + 1, dtype=samples.dtype, device=samples.device)
    weights = (2 * ranks - size - 1).reshape(-1, *[1] * (samples.ndim - 1)) / size**2
    return check_no_overflow("y", ((samples - y).abs().mean(0) - (weights * ordered).sum(0)).mean())


def gaussian_crps(mean: Tensor, std: Tensor | float, y: Tensor) -> Tensor:
    r"""Compute the CRPS of Gaussian predictions in closed form, mean over examples and outputs.

    .. math:: \sigma \big[z (2 \Phi(z) - 1) + 2 \varphi(z) - \pi^{-1/2}\big], \qquad z = (y - \mu)/\sigma

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations: a number, ``(N,)`` for a single target, or a tensor that broadcasts against
            the means.
        y: true values ``(N, C)``.

    References:
        Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting, Raftery; 2007).

    Example:
        >>> gaussian_crps(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
        tensor(0.2337)
    """
    mean, y = _pair(mean, y)
    std = check_scale("std", std, mean)
    z = (y - mean) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    each = std * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))
    return check_no_overflow("y", each.mean())


def _pair(mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    mean = check_mean(mean)
    return mean, check_targets(y, mean.shape, mean)


def _samples(samples: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    samples = check_mean(samples, "samples", 2)
    return samples, check_targets(y, samples.shape[1:], samples, "Samples come first: (S, N, C) against (N, C).")
