"""Random Fourier features: a Gaussian kernel as an inner product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import check_positive, check_size
from .base import FeatureMap, Features, check_floats, check_total

__all__ = ["RandomFourier"]

_PAIRS = 1000


class RandomFourier(Features):
    r"""Random Fourier features, whose inner products approximate a Gaussian kernel.

    .. math:: \varphi_i(x) = \sqrt{2 / D}\, \cos(w_i^\top x + b_i), \qquad
       \varphi(x)^\top \varphi(x') \approx \exp\big(-\tfrac12 \lVert x - x' \rVert^2 / \ell^2\big),

    with :math:`w_i \sim \mathcal{N}(0, I / \ell^2)` and :math:`b_i` uniform in :math:`[0, 2 \pi)`.

    Args:
        num_features: number :math:`D`.
        lengthscale: the width :math:`\ell` as a multiple of the median distance between inputs of the first task.

    References:
        Random Features for Large-Scale Kernel Machines (Rahimi, Recht; 2007).

    Example:
        >>> x = torch.randn(50, 3)
        >>> RandomFourier(100).fit(x)(x).shape
        torch.Size([50, 100])
    """

    def __init__(self, num_features: int = 1000, *, lengthscale: float = 0.5) -> None:
        self.num_features = check_size("num_features", num_features)
        self.lengthscale = check_positive("lengthscale", lengthscale)

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build a map that has not been fitted."""
        return FourierMap(input_shape, self.num_features, self.lengthscale)


class FourierMap(FeatureMap):
    """The map of :class:`RandomFourier`."""

    weight: Tensor
    phase: Tensor

    def __init__(self, input_shape: Sequence[int], num_features: int, lengthscale: float) -> None:
        super().__init__(input_shape, num_features)
        size = math.prod(self.input_shape)
        check_total("num_features", size, self.num_features)
        self.lengthscale = lengthscale
        self.register_buffer("weight", torch.zeros(size, num_features))
        self.register_buffer("phase", torch.zeros(num_features))

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Draw frequencies, whose width is that of the distances between some of the inputs."""
        flat = check_floats(x).flatten(1)
        pairs = torch.randint(len(flat), (2, _PAIRS), generator=generator).to(x.device)
        distance = (flat[pairs[0]] - flat[pairs[1]]).norm(dim=1)
        apart = distance[distance > 0]
        width = self.lengthscale * (apart.median() if len(apart) else distance.new_ones(()))
        noise = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64)
        self.weight.copy_(noise.to(self.weight) / width)
        self.phase.copy_(2 * math.pi * torch.rand(self.num_features, generator=generator, dtype=torch.float64))

    def features(self, x: Tensor) -> Tensor:
        """Compute the cosines."""
        angle = check_floats(x).flatten(1).to(self.weight.dtype) @ self.weight + self.phase
        return angle.cos() * math.sqrt(2 / self.num_features)
