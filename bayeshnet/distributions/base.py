"""What every weight distribution is: a torch Distribution over flat weights whose draws remember their latent."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..weights import WeightSpec

__all__ = ["WeightDistribution", "WeightDraw"]


@dataclass(frozen=True)
class WeightDraw:
    """Draws from a weight distribution, with the noise that made them.

    Shape:
        ``w`` ``(S, P)`` weights; ``z`` ``(S, n)`` latents, or None where there are none; ``eps`` ``(S, P)`` standard
        normal output noise, or None where there is none; ``u`` ``(S, P)`` the same weights in the whitened
        coordinates of the distribution that made the draw, or None where they are to be computed from ``w``.
    """

    w: Tensor
    z: Tensor | None = None
    eps: Tensor | None = None
    u: Tensor | None = None

    def first(self, num: int) -> WeightDraw:
        """The first ``num`` of the draws."""
        if num == self.w.shape[0]:
            return self
        w, *rest = (None if t is None else t[:num] for t in (self.w, self.z, self.eps, self.u))
        return WeightDraw(w, *rest)  # type: ignore[arg-type]


class WeightDistribution(Distribution):
    """A distribution over flat weight vectors: no batch shape, event shape ``(P,)``, stateless.

    Attributes:
        weight_spec: names and shapes of the weights, or None when unknown.
    """

    weight_spec: WeightSpec | None = None

    @abstractmethod
    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` reparameterized weight vectors together with their latents."""

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:
        """Draw reparameterized weights: ``(*sample_shape, P)``."""
        shape = torch.Size(sample_shape)
        return self.draw(shape.numel()).w.reshape(*shape, self.event_shape[0])
