"""Builders of weight posteriors for streams of tasks: settings now, the module when the network is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from ..distributions import FanInGaussian, WeightPosterior
from ..errors import check_positive
from ..weights import WeightSpec, Whitening

__all__ = ["ConditionedPosterior", "PosteriorFamily"]


@runtime_checkable
class ConditionedPosterior(Protocol):
    """A posterior with a condition per task, to which more can be added."""

    @property
    def num_conditions(self) -> int:
        """How many there are."""

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Make room for ``num`` more; returns the new parameters."""


class PosteriorFamily(ABC):
    """Builds a posterior over the weights of a network, with one condition to begin with.

    All families are whitened: weights are ``w = loc + scale * u`` with fan-in scales, and the prior is ``u ~ N(0, I)``,
    under which the network is a freshly initialized one.

    Args:
        gain: scale of hidden layers times the root of their fan-in; None for the Kaiming gain ``sqrt(2)``.
        last_gain: the same for the last layer.
        bias_scale: scale of biases.
    """

    def __init__(self, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1) -> None:
        self.gain = check_positive("gain", 2.0**0.5 if gain is None else gain)
        self.last_gain = check_positive("last_gain", last_gain)
        self.bias_scale = check_positive("bias_scale", bias_scale)

    @abstractmethod
    def build(self, spec: WeightSpec) -> WeightPosterior:
        """A new posterior over the weights of ``spec``; one that has conditions, with room for one."""

    def whitening(self, spec: WeightSpec) -> Whitening:
        """The map from whitened weights to weights."""
        return spec.whitening(self.gain, self.last_gain, self.bias_scale)

    def prior(self, spec: WeightSpec, like: Tensor) -> FanInGaussian:
        """The prior, ``N(0, I)`` over whitened weights, in the dtype and on the device of ``like``."""
        scales = (self.gain, self.last_gain, self.bias_scale)
        return FanInGaussian(spec, *scales, dtype=like.dtype, device=like.device)
