"""The contract of builders of weight posteriors: settings now, the module when the weights are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..deprecation import moved_names, renamed_arguments
from ..distributions import FanInGaussian, WeightPosterior
from ..errors import check_floating, check_instance, check_positive
from ..representation import Settings
from ..weights import WeightSpec, Whitening

__all__ = ["ConditionedPosterior", "PosteriorBuilder", "check_spec"]


@runtime_checkable
class ConditionedPosterior(Protocol):
    """A posterior with a condition per task, to which conditions can be added."""

    @property
    def num_conditions(self) -> int:
        """Number of conditions."""

    def add_conditions(self, num: int = 1) -> list[nn.Parameter]:
        """Add ``num`` conditions and return the new parameters."""


class PosteriorBuilder(Settings, ABC):
    """A builder of posteriors over the weights of a network.

    The posteriors are whitened: weights are ``w = loc + scale * u`` with fan-in scales. Draws from the prior, which is
    ``u ~ N(0, I)``, are freshly initialized networks.

    Args:
        gain: scale of hidden layers' weights times the root of their fan-in; None for the Kaiming gain ``sqrt(2)``.
        last_gain: the same for the last layer.
        bias_scale: scale of biases.
    """

    def __init__(self, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1) -> None:
        self.gain = check_positive("gain", 2.0**0.5 if gain is None else gain)
        self.last_gain = check_positive("last_gain", last_gain)
        self.bias_scale = check_positive("bias_scale", bias_scale)

    @abstractmethod
    @renamed_arguments(spec="weight_spec")
    def build(self, weight_spec: WeightSpec) -> WeightPosterior:
        """Build a new posterior over the weights of ``weight_spec``, with one condition if it has conditions."""

    @renamed_arguments(spec="weight_spec")
    def whitening(self, weight_spec: WeightSpec) -> Whitening:
        """Return the map from whitened weights to weights."""
        return check_spec(weight_spec).whitening(self.gain, self.last_gain, self.bias_scale)

    @renamed_arguments(spec="weight_spec")
    def prior(self, weight_spec: WeightSpec, like: Tensor | None = None) -> FanInGaussian:
        """Return the prior, ``N(0, I)`` over whitened weights, with dtype and device of ``like``."""
        like = torch.empty(0) if like is None else check_floating("like", like)
        scales = (self.gain, self.last_gain, self.bias_scale)
        return FanInGaussian(check_spec(weight_spec), *scales, dtype=like.dtype, device=like.device)


def check_spec(weight_spec: Any) -> WeightSpec:
    """Return ``weight_spec`` if it is a :class:`~bayeshnet.weights.WeightSpec`."""
    advice = "Make one by WeightSpec.of(net)."
    spec: WeightSpec = check_instance("weight_spec", weight_spec, WeightSpec, "a WeightSpec", advice)
    return spec


__getattr__ = moved_names(__name__, {"PosteriorFamily": "builders.PosteriorBuilder"})
