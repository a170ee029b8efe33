"""Builders of explicit posteriors whose means and standard deviations are parameters."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..deprecation import renamed_arguments
from ..distributions import DiracPosterior, LowRankPosterior, MeanFieldPosterior, RadialPosterior, WeightPosterior
from ..errors import check_positive, check_size
from ..weights import WeightSpec, Whitening
from .base import PosteriorBuilder

__all__ = ["LowRankWeights", "MeanFieldWeights", "PointWeights", "RadialWeights"]


class _ExplicitBuilder(PosteriorBuilder):
    """A builder of posteriors whose initial means are a draw from the prior, with biases at zero."""

    @renamed_arguments(spec="weight_spec")
    def build(self, weight_spec: WeightSpec) -> WeightPosterior:
        """Build a new posterior over the weights of ``weight_spec``."""
        whitening = self.whitening(weight_spec)
        u = torch.randn(weight_spec.numel) * weight_spec.mask(lambda e: e.role in ("weight", "embedding"))
        return self._with_means(weight_spec, whitening, whitening.loc + whitening.scale * u)

    @abstractmethod
    def _with_means(self, weight_spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        """Build the posterior with initial means ``init`` ``(P,)``."""


class MeanFieldWeights(_ExplicitBuilder):
    """Independent Gaussian weights (Bayes by backprop).

    Args:
        sigma: initial standard deviation of whitened weights.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.

    Example:
        >>> MeanFieldWeights(sigma=0.05).build(WeightSpec.of(torch.nn.Linear(3, 2)))().scale.shape
        torch.Size([8])
    """

    def __init__(
        self, *, sigma: float = 0.1, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.sigma = check_positive("sigma", sigma)

    def _with_means(self, weight_spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return MeanFieldPosterior(weight_spec, self.sigma, scale, init)


class RadialWeights(_ExplicitBuilder):
    """Radial weights, with a direction and a radius per tensor.

    Args:
        sigma: initial scale of whitened weights.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    def __init__(
        self, *, sigma: float = 0.1, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.sigma = check_positive("sigma", sigma)

    def _with_means(self, weight_spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return RadialPosterior(weight_spec, self.sigma, scale, init)


class LowRankWeights(_ExplicitBuilder):
    """Gaussian weights with a covariance of low rank plus diagonal.

    Args:
        rank: rank of the correlated part, whose initial standard deviation is a tenth of ``sigma``.
        sigma: initial standard deviation of whitened weights.
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    def __init__(
        self,
        *,
        rank: int = 8,
        sigma: float = 0.1,
        gain: float | None = None,
        last_gain: float = 1.0,
        bias_scale: float = 0.1,
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.rank = check_size("rank", rank)
        self.sigma = check_positive("sigma", sigma)

    def _with_means(self, weight_spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        init_std = 0.1 * self.sigma
        return LowRankPosterior(weight_spec, self.rank, self.sigma, init_std=init_std, scale=scale, init=init)


class PointWeights(_ExplicitBuilder):
    """One weight vector, for maximum a-posteriori learning.

    Args:
        gain: see :class:`PosteriorBuilder`.
        last_gain: see :class:`PosteriorBuilder`.
        bias_scale: see :class:`PosteriorBuilder`.
    """

    def __init__(self, *, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1) -> None:
        super().__init__(gain, last_gain, bias_scale)

    def _with_means(self, weight_spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return DiracPosterior(weight_spec, scale, init)
