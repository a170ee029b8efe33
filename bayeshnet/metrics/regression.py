"""Metrics of predictive distributions of values: RMSE, log-likelihood, coverage, CRPS."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import check_number, check_shape, type_error, value_error

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


def mse(mean: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared error of the predictive mean over examples and outputs.

    Args:
        mean: predicted values ``(N, C)``.
        y: true values ``(N, C)``.
    """
    return (mean - check_shape("y", y, mean.shape)).square().mean()


def rmse(mean: Tensor, y: Tensor) -> Tensor:
    """Compute the root of the mean squared error, in the units of the targets.

    Example:
        >>> rmse(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
        tensor(1.4142)
    """
    return mse(mean, y).sqrt()


def gaussian_log_likelihood(mean: Tensor, std: Tensor, y: Tensor) -> Tensor:
    r"""Compute the mean over examples of :math:`\sum_c \log N(y_c; \mu_c, \sigma_c^2)`, in nats.

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations, including noise, that broadcast against the means.
        y: true values ``(N, C)``.

    Example:
        >>> gaussian_log_likelihood(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
        tensor(-0.9189)
    """
    z = (check_shape("y", y, mean.shape) - mean) / std
    return (-0.5 * z.square() - torch.log(torch.as_tensor(std)) - 0.5 * math.log(2 * math.pi)).sum(-1).mean()


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
    noise = torch.as_tensor(noise_std, dtype=samples.dtype, device=samples.device)
    z = (_checked(samples, y) - y) / noise
    each = (-0.5 * z.square() - noise.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    return (each.logsumexp(0) - math.log(len(samples))).mean()


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
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype, device=samples.device)
    low, high = torch.quantile(_checked(samples, y), tails, dim=0)
    return ((low <= y) & (y <= high)).to(samples.dtype).mean()


def gaussian_coverage(mean: Tensor, std: Tensor, y: Tensor, level: float = 0.95) -> Tensor:
    r"""Compute the fraction of true values within :math:`\mu \pm z \sigma`, which contains ``level`` of the Gaussian.

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations, including noise, that broadcast against the means.
        y: true values ``(N, C)``.
        level: probability of the interval, from 0 to 1; the coverage of calibrated predictions is the same.

    Example:
        >>> gaussian_coverage(torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([[1.9], [2.0]]))
        tensor(0.5000)
    """
    check_number("level", level, 0, 1)
    width = math.sqrt(2) * torch.erfinv(torch.as_tensor(level, dtype=mean.dtype, device=mean.device))
    return ((check_shape("y", y, mean.shape) - mean).abs() <= width * std).to(mean.dtype).mean()


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
    size = len(samples)
    ordered = _checked(samples, y).sort(0).values
    ranks = torch.arange(1, size + 1, dtype=samples.dtype, device=samples.device)
    weights = (2 * ranks - size - 1).reshape(-1, *[1] * (samples.ndim - 1)) / size**2
    return ((samples - y).abs().mean(0) - (weights * ordered).sum(0)).mean()


def gaussian_crps(mean: Tensor, std: Tensor, y: Tensor) -> Tensor:
    r"""Compute the CRPS of Gaussian predictions in closed form, mean over examples and outputs.

    .. math:: \sigma \big[z (2 \Phi(z) - 1) + 2 \varphi(z) - \pi^{-1/2}\big], \qquad z = (y - \mu)/\sigma

    Args:
        mean: predictive means ``(N, C)``.
        std: predictive standard deviations that broadcast against the means.
        y: true values ``(N, C)``.

    References:
        Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting, Raftery; 2007).

    Example:
        >>> gaussian_crps(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
        tensor(0.2337)
    """
    z = (check_shape("y", y, mean.shape) - mean) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return (std * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))).mean()


def _checked(samples: Tensor, y: Tensor) -> Tensor:
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        raise type_error("samples", expected="a floating tensor (S, N, C)", got=samples)
    if samples.ndim < 2 or len(samples) == 0:
        raise value_error("samples", expected="predictions under S weight samples (S, N, C)", got=samples)
    check_shape("y", y, samples.shape[1:], "Samples come first: (S, N, C) against (N, C).")
    return samples
