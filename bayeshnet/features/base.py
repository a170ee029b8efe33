"""The contract of features: settings that are fitted to the inputs of the first task, and the frozen map they give."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import check_data, check_seed
from ..errors import LARGEST, check_finite, check_size, check_sizes, type_error, value_error
from ..mnets.parts.images import check_layout
from ..representation import Settings

__all__ = ["FeatureMap", "Features", "check_total"]

_PRECISE = (torch.float32, torch.float64)


class FeatureMap(nn.Module, ABC):
    r"""A map :math:`x \mapsto \varphi(x) \in \mathbb{R}^D` that is fitted to some inputs once, and then frozen.

    All of it is in buffers (or parameters without gradient) of the state, so that it is saved, loaded and moved with
    the module that holds it. It is called within chunks of inputs; no gradient flows through it.

    Args:
        input_shape: shape of one input.
        num_features: number :math:`D` of features.

    Shape:
        ``(N, *input_shape)`` -> ``(N, D)``.
    """

    def __init__(self, input_shape: Sequence[int], num_features: int) -> None:
        super().__init__()
        self.input_shape = tuple(check_sizes("input_shape", tuple(input_shape)))
        self.num_features = check_size("num_features", num_features)

    @abstractmethod
    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Fit the buffers to inputs ``(N, *input_shape)``, with random choices of a generator of the CPU."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Compute the features ``(N, D)`` of inputs that have been checked."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Compute the features ``(N, D)`` of inputs ``(N, *input_shape)``."""
        check_data("x", x)
        if not x.ndim or tuple(x.shape[1:]) != self.input_shape:
            raise value_error("x", expected=f"inputs of shape (N, {', '.join(map(str, self.input_shape))})", got=x)
        return self.features(x)

    @property
    def num_bytes(self) -> int:
        """Memory of all that is stored, in bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.buffers(), *self.parameters()))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"input_shape={self.input_shape}, num_features={self.num_features}"


class Features(Settings, ABC):
    """Settings of features. ``features.fit(x)`` gives the map, fitted to the inputs of the first task.

    Later tasks use the map as it is: what is computed from features of old tasks then stays valid.
    """

    @abstractmethod
    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build a map that has not been fitted, with buffers of the sizes that fitting gives them.

        Args:
            input_shape: shape of one input.
            layout: ``"CHW"`` or ``"HWC"`` for images, flattened or not; None if they are not images, or do not say.
        """

    def fit(self, x: Tensor, *, layout: str | None = None, seed: int = 0) -> FeatureMap:
        """Fit the map to inputs; those of later tasks are not needed.

        Args:
            x: inputs ``(N, *input_shape)`` of the first task, at least one, in float32 or float64.
            layout: as for :meth:`build`.
            seed: seed of all random choices.

        Raises:
            ValueError: if there is no input, an entry is not finite, or the settings do not fit the shape.
        """
        x = check_inputs(x).detach()
        seed = check_seed("seed", seed)
        fitted = self.build(tuple(x.shape[1:]), check_layout(layout)).to(device=x.device)
        if x.is_floating_point():
            fitted = fitted.to(dtype=x.dtype)
        with torch.no_grad():
            fitted.learn(x, torch.Generator().manual_seed(seed))
        return fitted.eval().requires_grad_(False)


def check_inputs(x: Tensor) -> Tensor:
    """Return inputs to which features can be fitted: at least one, finite, of enough digits."""
    check_data("x", x)
    if x.ndim < 2 or x.numel() == 0:
        raise value_error("x", expected="at least one input (N, ...)", got=x)
    if x.is_floating_point():
        if x.dtype not in _PRECISE:
            raise type_error("x", expected="inputs of float32 or float64", got=x, hint="Convert them with x.float().")
        check_finite("x", x)
        largest = float(x.detach().abs().max())
        if not largest < math.sqrt(torch.finfo(x.dtype).max / x.numel()):
            raise value_error("x", expected="inputs whose squares do not overflow", found=f"some of size {largest:.3g}")
    return x


def check_floats(x: Tensor) -> Tensor:
    """Return inputs ``x`` if they are floating."""
    if not x.is_floating_point():
        raise type_error("x", expected="floating inputs", got=x, hint="Convert them with x.float().")
    return x


def check_total(argument: str, *sizes: int) -> int:
    """Return the product of sizes if a tensor of so many numbers can be made."""
    total = math.prod(sizes)
    if total > LARGEST:
        raise value_error(argument, expected=f"sizes with a product of at most {LARGEST}", got=sizes)
    return total
