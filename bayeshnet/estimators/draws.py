"""Draws from any distribution over weights, and standard errors of means over them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions.base import WeightDistribution, WeightDraw, draw_from
from ..distributions.semi_implicit import GeneratedWeights
from ..errors import value_error
from ..rng import generator_on, sample_seeded

__all__ = [
    "device_of",
    "draw_from",
    "latent_and_noise",
    "sample_beside",
    "sample_from",
    "standard_error",
    "whiten_like",
]


def sample_from(p: Distribution, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw weights ``(num, P)`` without gradient."""
    with torch.no_grad():
        return p.draw(num, generator).w if isinstance(p, WeightDistribution) else sample_seeded(p, num, generator)


def sample_beside(
    x: Tensor, q: Distribution, p: Distribution, num: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw weights ``(num, P)`` of a prior without gradient, to be compared with draws ``x`` of the posterior ``q``.

    They are on the device of ``x``, wherever the prior is, and in the whitened coordinates of ``q``, if it has some.
    """
    where = device_of(p)
    own = generator if where is None else generator_on(where, generator)
    return whiten_like(q, sample_from(p, num, own).to(x.device))


def device_of(distribution: Distribution) -> torch.device | None:
    """Return the device of the first tensor that a distribution, or one that it is made of, has; None without any."""
    parts = list(vars(distribution).values())
    for part in parts:
        if isinstance(part, Tensor):
            return part.device
    found = (device_of(part) for part in parts if isinstance(part, Distribution))
    own = getattr(distribution, "device", None)
    return own if isinstance(own, torch.device) else next((device for device in found if device is not None), None)


def latent_and_noise(draw: WeightDraw) -> tuple[Tensor, Tensor]:
    """Return latent ``(S, n)`` and noise ``(S, P)`` of a draw; refuse a draw without them."""
    if draw.z is None or draw.eps is None:
        raise value_error(
            "draw",
            expected="a draw with its latent and noise",
            found="one without",
            hint="Use q.draw(S), of a posterior without block_size.",
        )
    return draw.z, draw.eps


def whiten_like(q: Distribution, w: Tensor) -> Tensor:
    """Return weights ``(S, P)`` in the whitened coordinates of ``q``, if it has some: a KL is the same in both."""
    return q.whiten(w) if isinstance(q, GeneratedWeights) else w


def standard_error(values: Tensor) -> Tensor | None:
    """Return the standard error of the mean of ``values`` ``(S,)``, or None for a single one."""
    values = values.detach()
    return values.std() / math.sqrt(values.numel()) if values.numel() > 1 else None
