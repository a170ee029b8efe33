"""The radial weight distribution, with a uniform direction and one radius per tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import check_floating, check_shape
from ..rng import normal_like
from ..weights import WeightEntry, WeightSpec
from .base import WeightDistribution, WeightDraw, check_parameters, check_spec, check_value

__all__ = ["Radial"]

_EULER_GAMMA = 0.5772156649015329


class Radial(WeightDistribution):
    r"""Weights at a half-normal distance from their mean, in a uniform direction, tensor by tensor.

    For each tensor of ``d`` weights :math:`w = loc + scale \odot \frac{\varepsilon}{|\varepsilon|} r` with
    :math:`\varepsilon \sim N(0, I_d)` and one :math:`r \sim N(0, 1)`. Unlike a Gaussian, whose draws concentrate at
    distance :math:`\sqrt d`, it keeps most mass near the mean. Each weight has variance ``scale**2 / d``.

    Args:
        loc: means ``(P,)``.
        scale: scales ``(P,)`` or ``()``.
        weight_spec: names and shapes of the weights; a single tensor if None.
        validate_args: check the values of ``scale``; torch's default if None.

    References:
        Farquhar, Osborne, Gal, "Radial Bayesian neural networks: beyond discrete support in large-scale Bayesian deep
        learning", 2020.

    Example:
        >>> q = Radial(torch.zeros(1), torch.ones(1))
        >>> round(float(q.log_prob(torch.zeros(1) + 1.0)), 4)  # one weight: the standard normal
        -1.4189
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        weight_spec: WeightSpec | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loc = check_shape("loc", loc, (None,), "Weights are flat vectors; see WeightSpec.flatten.")
        check_floating("loc", loc)
        check_floating("scale", scale)
        self.scale = scale.expand(loc.shape) if scale.ndim == 0 else check_shape("scale", scale, loc.shape)
        single = weight_spec is None
        self._spec = check_spec(WeightSpec((WeightEntry("w", tuple(loc.shape)),)) if single else weight_spec, len(loc))
        self.weight_spec = self._spec
        check_parameters(validate_args, {"scale": self.scale}, loc=loc)
        super().__init__(torch.Size(), loc.shape, validate_args=validate_args)

    @property
    def sizes(self) -> list[int]:
        """The number ``d`` of weights of each tensor."""
        return [entry.numel for entry in self._spec.entries]

    @property
    def mean(self) -> Tensor:
        """Means ``(P,)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``: ``scale**2 / d``."""
        counts = torch.tensor(self.sizes, dtype=self.loc.dtype).to(self.loc.device, non_blocking=True)
        return self.scale**2 / self._spec.spread(counts)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors."""
        eps = normal_like(self.loc, (num, self.loc.shape[0]), generator)
        radius = normal_like(self.loc, (num, len(self.sizes)), generator)
        parts = eps.split(self.sizes, dim=-1)
        unit = [part / part.norm(dim=-1, keepdim=True) * radius[:, i : i + 1] for i, part in enumerate(parts)]
        return WeightDraw(self.loc + self.scale * torch.cat(unit, dim=-1))

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats; it is infinite at a tensor's mean."""
        check_value(value, self.loc.shape[0], self.loc)
        parts = ((value - self.loc) / self.scale).split(self.sizes, dim=-1)
        log_density = -self.scale.log().sum()
        for part, d in zip(parts, self.sizes, strict=True):
            distance = part.norm(dim=-1)
            half_normal = 0.5 * math.log(2 / math.pi) - 0.5 * distance**2
            thinning = (d - 1) * distance.log() if d > 1 else 0.0
            log_density = log_density + half_normal - _log_sphere(d) - thinning
        return log_density

    def entropy(self) -> Tensor:
        r"""Compute the differential entropy in nats.

        For each tensor

        .. math:: \sum_i \log scale_i + \tfrac12 \log\frac{\pi e}{2} + \log\frac{2 \pi^{d/2}}{\Gamma(d/2)}
            - \frac{d - 1}{2} (\gamma + \log 2) .
        """
        constant = 0.0
        for d in self.sizes:
            constant += 0.5 * math.log(math.pi * math.e / 2) + _log_sphere(d)
            constant -= 0.5 * (d - 1) * (_EULER_GAMMA + math.log(2))
        return self.scale.log().sum() + constant


def _log_sphere(d: int) -> float:
    """Compute the log-area of the unit sphere in ``d`` dimensions."""
    return math.log(2) + 0.5 * d * math.log(math.pi) - math.lgamma(d / 2)
