"""Likelihoods of values: Gaussian noise with constant or input-dependent variance, and counts."""

from __future__ import annotations

import math
from abc import ABC
from typing import ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import check_flags, check_floating, check_int, check_number, check_positive, value_error
from .base import Likelihood
from .contract import Values, is_count
from .places import places_summed

__all__ = ["Gaussian", "HeteroscedasticGaussian", "Poisson"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class _Values(Likelihood, ABC):
    """Likelihoods whose uncertainty is a variance, by the law of total variance."""

    kind: ClassVar[str] = "regression"
    takes = Values(torch.isfinite, "finite values")

    def total(self, mean: Tensor, between: Tensor, noise: Tensor) -> Tensor:
        """Compute the mean variance of the noise plus the variance of the mean, summed over targets: ``(N,)``."""
        return noise + between.sum(-1)


class Gaussian(_Values):
    r"""Independent Gaussian noise of constant variance: :math:`y_c \sim N(f_c, s_c^2)`.

    Args:
        noise: standard deviation :math:`s` in the targets' units, one number or one per target ``(C,)``.
        learn: True to learn :math:`\log s`, with ``noise`` as the initial value.

    Shape:
        Outputs are ``(*B, N, C)``, targets ``(N, C)``; per pixel or step ``(S, N, C, *P)`` and ``(N, C, *P)``.

    Example:
        >>> likelihood = Gaussian(noise=0.5, learn=True)
        >>> likelihood.log_prob(torch.zeros(3, 1), torch.zeros(3, 1)).detach()
        tensor([-0.2258, -0.2258, -0.2258])
    """

    def __init__(self, noise: float | Tensor = 1.0, learn: bool = False) -> None:
        super().__init__()
        check_flags(learn=learn)
        expected = "standard deviations > 0 of shape () or (C,), neither NaN nor infinite nor beyond their dtype"
        scale = (
            check_floating("noise", noise) if isinstance(noise, Tensor) else torch.tensor(check_number("noise", noise))
        )
        known = not scale.is_meta
        if scale.ndim > 1 or not scale.numel() or (known and not bool(scale.detach().log().isfinite().all())):
            raise value_error("noise", expected=expected, got=noise)
        self._noise, self.learn = scale.detach(), bool(learn)
        if learn:
            self.log_scale = nn.Parameter(scale.detach().log())
        else:
            self.register_buffer("log_scale", scale.log())

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the noise, ``()`` or ``(C,)``."""
        return self.log_scale.exp()

    def extra_repr(self) -> str:
        """Show the settings."""
        scale = self.scale.detach()
        noise = f"{scale.item():.4g}" if scale.numel() == 1 else f"tensor{tuple(scale.shape)}"
        return f"noise={noise}, learn={self.learn}"

    def distribution(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return normal distributions with means ``outputs``, with the last dimension as the event."""
        found: dist.TorchDistribution = dist.Normal(outputs, self.scale.to(outputs.device)).to_event(1)
        return found

    @places_summed
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-density of ``y`` ``(N, C)``, summed over targets: ``(*B, N)``, in nats."""
        residual = self.targets(outputs, y) - outputs
        log_scale = self.log_scale.to(residual.device)
        standard = residual * (-log_scale).exp()
        return torch.sub(-_HALF_LOG_2PI - log_scale, standard.square(), alpha=0.5).sum(-1)

    @places_summed
    def log_prob_sum(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the sum ``()`` of :meth:`log_prob`, from one sum of squares where the noise is one number."""
        if self.log_scale.ndim or self.changes_log_prob(Gaussian):
            return super().log_prob_sum(outputs, y)
        residual = self.targets(outputs, y) - outputs
        squares = (residual * residual).sum()
        constant = outputs.numel() * (-_HALF_LOG_2PI - self.log_scale)
        return (constant - (-2 * self.log_scale).exp() * (0.5 * squares)).to(squares)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the variance of the noise, summed over targets: ``(*B, N)``."""
        return (2 * self.log_scale.to(outputs.device)).exp().expand(outputs.shape).sum(-1)


class HeteroscedasticGaussian(_Values):
    r"""Gaussian noise of predicted standard deviation: :math:`y \sim N(f, s^2)`, :math:`s = s_{min} + \log(1 + e^r)`.

    Args:
        min_scale: smallest standard deviation :math:`s_{min}`, in the targets' units, which bounds the density.

    Shape:
        Outputs are ``(*B, N, 2C)``, the means first; targets ``(N, C)``; per pixel or step ``(S, N, 2C, *P)`` and
        ``(N, C, *P)``.

    Example:
        >>> HeteroscedasticGaussian().num_outputs(3)
        6
    """

    def __init__(self, min_scale: float = 1e-3) -> None:
        super().__init__()
        self.min_scale = check_positive("min_scale", min_scale)

    def num_outputs(self, num_targets: int) -> int:
        """Return twice the number of targets."""
        return 2 * check_int("num_targets", num_targets, 1)

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute means and standard deviations ``(*B, N, C)``."""
        if outputs.shape[-1] % 2:
            raise value_error("outputs", expected="an even number of outputs: means and raw scales", got=outputs)
        mean, raw = outputs.chunk(2, dim=-1)
        return mean, self.min_scale + F.softplus(raw)

    def distribution(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return normal distributions, with the last dimension as the event."""
        found: dist.TorchDistribution = dist.Normal(*self.split(outputs)).to_event(1)
        return found

    @places_summed
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-density of ``y`` ``(N, C)``, summed over targets: ``(*B, N)``, in nats."""
        y = self.targets(outputs, y)
        mean, scale = self.split(outputs.to(torch.promote_types(outputs.dtype, y.dtype)))
        return (-0.5 * ((y - mean) / scale).square() - scale.log() - _HALF_LOG_2PI).sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the first half of the outputs."""
        return self.split(outputs)[0]

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the variance of the noise, summed over targets: ``(*B, N)``."""
        return self.split(outputs)[1].square().sum(-1)


class Poisson(_Values):
    r"""Counts whose logarithmic rate the network predicts: :math:`y_c \sim \mathrm{Poisson}(e^{f_c})`.

    Shape:
        Outputs are ``(*B, N, C)``, targets are counts ``(N, C)``; per pixel or step ``(S, N, C, *P)`` and
        ``(N, C, *P)``.

    Example:
        >>> Poisson().log_prob(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([-1.])
    """

    takes = Values(is_count, "counts 0, 1, 2, ...", same_type=True)

    def distribution(self, outputs: Tensor) -> dist.TorchDistribution:
        """Return Poisson distributions, with the last dimension as the event."""
        found: dist.TorchDistribution = dist.Poisson(outputs.exp()).to_event(1)
        return found

    @places_summed
    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-probability of the counts ``y`` ``(N, C)``, summed over targets: ``(*B, N)``, in nats."""
        counts = self.targets(outputs, y)
        return (counts * outputs - outputs.exp() - torch.lgamma(counts + 1)).sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the rates."""
        return outputs.exp()

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the variance of the counts, which is their rate, summed over targets: ``(*B, N)``."""
        return outputs.exp().sum(-1)
