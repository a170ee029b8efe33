"""Distributions over flat weight vectors, and draws from them together with the noise that produced them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..errors import type_error, value_error
from ..representation import Settings
from ..rng import sample_seeded
from ..weights import WeightSpec

__all__ = ["WeightDistribution", "WeightDraw", "draw_from", "has_log_prob"]


@dataclass(frozen=True)
class WeightDraw:
    """Draws from a weight distribution, with the noise that produced them.

    Attributes:
        w: weights ``(S, P)``.
        z: latents ``(S, n)``, or None for a distribution without latents.
        eps: standard normal output noise ``(S, P)``, or None for a distribution without it.
        u: the weights in whitened coordinates ``(S, P)``, or None if they are to be computed from ``w``.
    """

    w: Tensor
    z: Tensor | None = None
    eps: Tensor | None = None
    u: Tensor | None = None

    def first(self, num: int) -> WeightDraw:
        """Return the first ``num`` draws."""
        if num == self.w.shape[0]:
            return self
        w, *rest = (None if t is None else t[:num] for t in (self.w, self.z, self.eps, self.u))
        return WeightDraw(w, *rest)  # type: ignore[arg-type]


class WeightDistribution(Settings, Distribution, ABC):
    """A distribution over flat weight vectors: empty batch shape, event shape ``(P,)``, stateless.

    Subclasses implement :meth:`draw`; ``log_prob`` if the density is known, else estimators work with the noise of the
    draws; and ``mean``, ``variance`` and ``entropy`` where these have closed forms.

    Attributes:
        weight_spec: names and shapes of the weights, or None if unknown.
    """

    weight_spec: WeightSpec | None = None

    @abstractmethod
    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` reparameterized weight vectors, together with the noise that produced them."""

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:
        """Draw reparameterized weights: ``(*sample_shape, P)``."""
        shape = torch.Size(sample_shape)
        return self.draw(shape.numel()).w.reshape(*shape, self.event_shape[0])


def draw_from(q: Distribution, num: int, generator: torch.Generator | None = None) -> WeightDraw:
    """Draw ``num`` reparameterized weight vectors from a weight distribution, or any with ``rsample``.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(3), 1.0)
        >>> draw_from(torch.distributions.Independent(normal, 1), 5).w.shape
        torch.Size([5, 3])
    """
    own = getattr(q, "draw", None)
    if callable(own):
        draw = own(num, generator)
    elif q.has_rsample and type(q).rsample is not Distribution.rsample:
        draw = WeightDraw(sample_seeded(q, num, generator))
    else:
        advice = "Write its method rsample(sample_shape) and set has_rsample = True, or derive from WeightDistribution."
        raise value_error("q", expected="a distribution with rsample", found=type(q).__name__, hint=advice)
    shape = (num, *getattr(q, "event_shape", draw.w.shape[1:] if isinstance(draw, WeightDraw) else ()))
    if not isinstance(draw, WeightDraw) or draw.w.shape != shape:
        where, got = "draw" if callable(own) else "rsample", draw.w if isinstance(draw, WeightDraw) else draw
        expected = f"a WeightDraw with weights of shape {shape}"
        raise type_error(f"{type(q).__name__}.{where}", expected=expected, got=got)
    return draw


def has_log_prob(q: Distribution) -> bool:
    """Return whether the class of a distribution has a ``log_prob`` of its own."""
    return type(q).log_prob is not Distribution.log_prob
