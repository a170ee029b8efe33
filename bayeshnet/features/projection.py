"""Random projections, rectified or linear, of inputs or of other features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import check_flags, check_instance, check_number, check_size
from .base import FeatureMap, Features, check_floats, check_total
from .scaling import Standardize

__all__ = ["RandomProjection"]

_INPUTS = 5_000


class RandomProjection(Features):
    r"""A random layer on top of other features, or of the inputs.

    .. math:: \varphi(x) = \max(0, W z(x) + b), \qquad W_{ij} \sim \mathcal{N}(0, 1 / d), \quad
       b_i \sim \mathcal{N}(0, \beta^2),

    where :math:`z(x) \in \mathbb{R}^d` are the features below, standardized over the first task. Without the rectifier
    it is a compact form of the features below: by the lemma of Johnson and Lindenstrauss distances are kept to
    :math:`O(1 / \sqrt{D})`.

    Args:
        num_features: number :math:`D`.
        on: the features below; None for the flattened inputs.
        rectified: False for the linear projection, without offsets.
        bias: the width :math:`\beta` of the offsets.

    References:
        Extreme Learning Machine: Theory and Applications (Huang, Zhu, Siew; 2006); RanPAC: Random Projections and
        Pre-trained Models for Continual Learning (McDonnell, Gong, Parvaneh, Abbasnejad, van den Hengel; 2023).

    Example:
        >>> from bayeshnet.features import RandomFourier
        >>> x = torch.randn(50, 3)
        >>> RandomProjection(20, on=RandomFourier(100)).fit(x)(x).shape
        torch.Size([50, 20])
    """

    def __init__(
        self, num_features: int = 1000, *, on: Features | None = None, rectified: bool = True, bias: float = 0.3
    ) -> None:
        self.num_features = check_size("num_features", num_features)
        self.on = None if on is None else check_instance("on", on, Features, "Features, or None")
        check_flags(rectified=rectified)
        self.rectified = bool(rectified)
        self.bias = check_number("bias", bias, minimum=0.0)

    def build(self, input_shape: Sequence[int], layout: str | None = None) -> FeatureMap:
        """Build a map that has not been fitted."""
        below = None if self.on is None else self.on.build(input_shape, layout)
        return ProjectionMap(self, input_shape, below)


class ProjectionMap(FeatureMap):
    """The map of :class:`RandomProjection`."""

    weight: Tensor
    offset: Tensor

    def __init__(self, settings: RandomProjection, input_shape: Sequence[int], below: FeatureMap | None) -> None:
        super().__init__(input_shape, settings.num_features)
        size = math.prod(self.input_shape) if below is None else below.num_features
        check_total("num_features", size, settings.num_features)
        self.settings, self.below = settings, below
        self.standardize = Standardize(size)
        self.register_buffer("weight", torch.zeros(size, settings.num_features))
        self.register_buffer("offset", torch.zeros(settings.num_features))

    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Fit the features below, standardize them, and draw the layer."""
        if isinstance(self.below, FeatureMap):
            self.below.learn(x, generator)
        some = torch.randperm(len(x), generator=generator)[:_INPUTS].to(x.device)
        self.standardize.learn(self.lower(x[some]))
        weight = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64)
        self.weight.copy_(weight.to(self.weight) / math.sqrt(len(self.weight)))
        if self.settings.rectified:
            offset = torch.randn(self.offset.shape, generator=generator, dtype=torch.float64)
            self.offset.copy_(self.settings.bias * offset.to(self.offset))

    def features(self, x: Tensor) -> Tensor:
        """Compute the layer."""
        found = self.standardize(self.lower(x)) @ self.weight + self.offset
        value: Tensor = found.relu() if self.settings.rectified else found
        return value

    def lower(self, x: Tensor) -> Tensor:
        """Compute the features below."""
        if isinstance(self.below, nn.Module):
            found: Tensor = self.below(x)
            return found
        return check_floats(x).flatten(1).to(self.weight.dtype)
