"""Gaussian noise: the standard normal log-density, and the constants of the weights given their latent."""

from __future__ import annotations

import math

from torch import Tensor

from ..distributions.semi_implicit import SemiImplicit, total

__all__ = ["log_normal", "log_normalizer", "noise_entropy"]

_LOG_2PI = math.log(2 * math.pi)


def log_normal(x: Tensor) -> Tensor:
    """Return the standard normal log-density ``(*B,)`` at ``x`` ``(*B, n)``."""
    return -0.5 * x.square().sum(-1) - 0.5 * x.shape[-1] * _LOG_2PI


def log_normalizer(q: SemiImplicit) -> Tensor:
    r"""Return :math:`\tfrac12 \sum_i \log(2 \pi\, scale_i^2 \sigma_i^2)`, the normalizer of the weights' noise."""
    num = q.geometry.num_weights
    return total(q.sigma.log(), num) + q.log_volume + 0.5 * num * _LOG_2PI


def noise_entropy(q: SemiImplicit) -> Tensor:
    r"""Return the entropy of the noise of the weights, :math:`\tfrac12 \sum_i \log(2 \pi e\, scale_i^2 \sigma_i^2)`."""
    num = q.geometry.num_weights
    return total(q.sigma.log(), num) + q.log_volume + 0.5 * num * (1 + _LOG_2PI)
