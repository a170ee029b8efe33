"""Draws from any distribution over weights, and standard errors of means over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions.base import WeightDistribution, WeightDraw, draw_from
from ..distributions.semi_implicit import GeneratedWeights
from ..errors import value_error
from ..rng import sample_seeded

__all__ = ["draw_from", "latent_and_noise", "sample_from", "standard_error", "whiten_like"]


def sample_from(p: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw weights ``(num, P)`` without gradient."""
    with torch.no_grad():
        return p.draw(num, generator).w if isinstance(p, WeightDistribution) else sample_seeded(p, num, generator)


def latent_and_noise(draw: WeightDraw) -> tuple[Tensor, Tensor]:
    """Return latent ``(S, n)`` and noise ``(S, P)`` of a draw; refuse a draw without them."""
    if draw.z is None or draw.eps is None:
        raise value_error(
            "draw", expected="a draw with its latent and noise", found="one without", hint="Use q.draw(S)."
        )
    return draw.z, draw.eps


def whiten_like(q: Distribution, w: Tensor) -> Tensor:
    """Return weights ``(S, P)`` in the whitened coordinates of ``q``, if it has some: a KL is the same in both."""
    return q.whiten(w) if isinstance(q, GeneratedWeights) else w


def standard_error(values: Tensor) -> Tensor | None:
    """Return the standard error of the mean of ``values`` ``(S,)``, or None for a single one."""
    values = values.detach()
    return values.std() / math.sqrt(values.numel()) if values.numel() > 1 else None
