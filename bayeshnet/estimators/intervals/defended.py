"""A proposal of which a small share is the prior of the latent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry.linalg import precise
from ...rng import normal_like, uniform_like
from ..latent_posterior import Proposal
from ..noise import log_normal

__all__ = ["Defended"]

_SHARE = 0.05


@dataclass(frozen=True)
class Defended:
    """A mixture of a proposal and the prior of the latent, so that no weight exceeds that of the prior by much.

    Attributes:
        inner: proposal around modes.
    """

    inner: Proposal

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-densities ``(S, K)`` of latents ``(S, K, n)``."""
        base = log_normal(precise(z)) + math.log(_SHARE)
        return torch.logaddexp(self.inner.log_prob(z) + math.log1p(-_SHARE), base)

    def draw(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents ``(S, num, n)``."""
        z = self.inner.draw(num, generator)
        fresh = uniform_like(z, tuple(z.shape[:2]), generator) < _SHARE
        return torch.where(fresh.unsqueeze(-1), normal_like(z, tuple(z.shape), generator), z)
