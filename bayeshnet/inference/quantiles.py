"""Quantiles of a predictive distribution, a mixture over weight draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from ..guides import Likelihood

__all__ = ["normal_mixture_quantile", "predictive_quantiles"]

_BISECTIONS = 60
_DRAWS = 32


def predictive_quantiles(
    likelihood: Likelihood | None, outputs: Tensor, levels: Sequence[float]
) -> dict[float, Tensor]:
    """Quantiles ``(N, C)`` by level, from outputs ``(S, N, C')`` under all draws.

    Gaussian likelihoods: of the targets, exactly, by bisection of the mixture's distribution function. Counts: of
    targets drawn 32 times per weight draw. Classes, and no likelihood: of the probabilities or outputs over draws.
    """
    if likelihood is None or likelihood.kind == "classification":
        values = outputs if likelihood is None else likelihood.mean(outputs)
        return {level: torch.quantile(values, level, dim=0) for level in levels}
    dist = likelihood.distribution(outputs)
    if isinstance(dist, Independent) and isinstance(dist.base_dist, Normal):
        return {level: normal_mixture_quantile(dist.base_dist.loc, dist.base_dist.scale, level) for level in levels}
    draws = dist.sample((_DRAWS,)).flatten(0, 1)
    return {level: torch.quantile(draws, level, dim=0) for level in levels}


def normal_mixture_quantile(loc: Tensor, scale: Tensor, level: float) -> Tensor:
    """Quantile ``(*B,)`` of the equal mixture over the first dimension of normal distributions ``(S, *B)``."""
    each = loc + scale * torch.special.ndtri(torch.as_tensor(level, dtype=loc.dtype, device=loc.device))
    low, high = each.amin(0), each.amax(0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = torch.special.ndtr((middle - loc) / scale).mean(0) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)
