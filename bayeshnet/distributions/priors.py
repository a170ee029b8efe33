"""Priors over network weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_device, check_dtype
from ..deprecation import renamed_arguments
from ..errors import check_number, check_positive
from ..memo import Memo
from ..rng import normal_like, uniform_like
from ..weights import WeightSpec, Whitening
from .base import WeightDistribution, WeightDraw, check_spec, check_value
from .gaussian import MeanFieldGaussian

__all__ = ["FanInGaussian", "ScaleMixturePrior"]


class FanInGaussian(WeightDistribution):
    r"""Gaussian prior whose draws are Kaiming-initialized networks, :math:`N(0, I)` in whitened coordinates.

    :math:`w = loc + scale \odot u` with ``weight_spec.whitening(gain, last_gain, bias)`` and :math:`u \sim N(0, I)`:
    standard deviation ``gain / sqrt(fan_in)`` for weights, ``bias`` for biases; norm scales are centered at one.

    Args:
        weight_spec: names, shapes and roles of the weights.
        gain: gain of the hidden layers.
        last_gain: gain of the last layer.
        bias: standard deviation of biases, norm shifts and norm scales.
        dtype: dtype of the tensors.
        device: device of the tensors.

    References:
        He, Zhang, Ren, Sun, "Delving deep into rectifiers", 2015.

    Example:
        >>> p = FanInGaussian(WeightSpec.of(torch.nn.Linear(4, 2)))
        >>> p.scale[:2], p.scale[-2:]
        (tensor([0.5000, 0.5000]), tensor([0.1000, 0.1000]))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    @renamed_arguments(spec="weight_spec")
    def __init__(
        self,
        weight_spec: WeightSpec,
        gain: float = math.sqrt(2.0),
        last_gain: float = 1.0,
        bias: float = 0.1,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.gain = check_positive("gain", gain)
        self.last_gain = check_positive("last_gain", last_gain)
        self.bias = check_positive("bias", bias)
        self.weight_spec = check_spec(weight_spec)
        self.whitening = weight_spec.whitening(gain, last_gain, bias, dtype=dtype, device=device)
        self.dtype, self.device = self.loc.dtype, self.loc.device
        self._matches = Memo[bool](known=True)
        super().__init__(torch.Size(), torch.Size((weight_spec.numel,)), validate_args=False)

    @property
    def loc(self) -> Tensor:
        """Means ``(P,)``."""
        return self.whitening.loc

    @property
    def scale(self) -> Tensor:
        """Standard deviations ``(P,)``."""
        return self.whitening.scale

    @property
    def mean(self) -> Tensor:
        """Means ``(P,)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``."""
        return self.scale**2

    def whitened_by(self, whitening: Whitening | None) -> bool:
        """Return whether this prior is N(0, I) under ``whitening``; the same tensors are compared only once."""
        if whitening is None:
            return False
        own, other = (self.loc, self.scale), (whitening.loc, whitening.scale)

        def equal() -> bool:
            pairs = zip(own, other, strict=True)
            return all(a.shape == b.shape and torch.equal(a, b.to(a)) for a, b in pairs)

        return self._matches.get((*own, *other), equal)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors."""
        return self._gaussian().draw(num, generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats."""
        return self._gaussian().log_prob(value)

    def entropy(self) -> Tensor:
        """Compute the differential entropy in nats."""
        return self._gaussian().entropy()

    def _gaussian(self) -> MeanFieldGaussian:
        return MeanFieldGaussian(self.loc, self.scale, self.weight_spec, validate_args=False)


class ScaleMixturePrior(WeightDistribution):
    r"""Independent weights from a wide and a narrow Gaussian, :math:`\pi N(0, s_1^2) + (1 - \pi) N(0, s_2^2)`.

    Args:
        weight_spec: names and shapes of the weights.
        pi: probability of the first component.
        scale1: standard deviation of the first component.
        scale2: standard deviation of the second component.
        dtype: dtype of the draws.
        device: device of the draws.

    References:
        Blundell, Cornebise, Kavukcuoglu, Wierstra, "Weight uncertainty in neural networks", 2015.

    Example:
        >>> p = ScaleMixturePrior(WeightSpec.of_shapes([[2, 2]]), pi=0.5, scale1=1.0, scale2=1.0)
        >>> round(float(p.log_prob(torch.zeros(4))), 4)
        -3.6758
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = False

    @renamed_arguments(spec="weight_spec")
    def __init__(
        self,
        weight_spec: WeightSpec,
        pi: float = 0.5,
        scale1: float = 1.0,
        scale2: float = math.exp(-6.0),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.pi = check_number("pi", pi, 0.0, 1.0)
        self.scale1 = check_positive("scale1", scale1)
        self.scale2 = check_positive("scale2", scale2)
        self.weight_spec = check_spec(weight_spec)
        self._like = torch.zeros((), dtype=check_dtype("dtype", dtype), device=check_device("device", device))
        self.dtype, self.device = self._like.dtype, self._like.device
        super().__init__(torch.Size(), torch.Size((weight_spec.numel,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zeros ``(P,)``."""
        return self._like.expand(self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``."""
        variance = self.pi * self.scale1**2 + (1 - self.pi) * self.scale2**2
        return (self._like + variance).expand(self.event_shape)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors, without gradient, since the prior has no parameters."""
        size = (num, *self.event_shape)
        first = uniform_like(self._like, size, generator) < self.pi
        eps = normal_like(self._like, size, generator)
        return WeightDraw(torch.where(first, self.scale1 * eps, self.scale2 * eps), None, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats."""
        check_value(value, self.event_shape[0], self._like)
        parts = [
            math.log(weight) - math.log(scale) - 0.5 * (value / scale) ** 2
            for weight, scale in ((self.pi, self.scale1), (1 - self.pi, self.scale2))
            if weight > 0
        ]
        # Second derivatives of logaddexp are NaN where one part is far below the other.
        log_density = torch.logsumexp(torch.stack(parts), dim=0) if len(parts) == 2 else parts[0]
        return log_density.sum(-1) - 0.5 * value.shape[-1] * math.log(2 * math.pi)
