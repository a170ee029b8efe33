"""Families without a hypernetwork: the numbers of an explicit posterior are parameters themselves."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ..distributions import DiracPosterior, LowRankPosterior, MeanFieldPosterior, RadialPosterior, WeightPosterior
from ..errors import check_int, check_positive
from ..weights import WeightSpec, Whitening
from .base import PosteriorFamily

__all__ = ["LowRankWeights", "MeanFieldWeights", "PointWeights", "RadialWeights"]


class _Plain(PosteriorFamily):
    """What they have in common.

    Args:
        sigma: standard deviation of whitened weights at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def __init__(
        self, *, sigma: float = 0.1, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1
    ) -> None:
        super().__init__(gain, last_gain, bias_scale)
        self.sigma = check_positive("sigma", sigma)

    def build(self, spec: WeightSpec) -> WeightPosterior:
        """A new posterior over the weights of ``spec``, whose means are a draw from the prior with biases at zero."""
        whitening = self.whitening(spec)
        start = torch.randn(spec.numel) * spec.mask(lambda e: e.role in ("weight", "embedding"))
        return self._make(spec, whitening, whitening.loc + whitening.scale * start)

    @abstractmethod
    def _make(self, spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        """The posterior module with initial means ``init`` ``(P,)``."""


class MeanFieldWeights(_Plain):
    """Independent Gaussian weights (Bayes by backprop).

    Args:
        sigma: standard deviation of whitened weights at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def _make(self, spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return MeanFieldPosterior(spec, self.sigma, scale, init)


class RadialWeights(_Plain):
    """Radial weights, a direction and a length per tensor.

    Args:
        sigma: scale of whitened weights at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def _make(self, spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return RadialPosterior(spec, self.sigma, scale, init)


class LowRankWeights(_Plain):
    """Gaussian weights with a covariance of low rank plus diagonal.

    Args:
        rank: of the correlated part.
        sigma: standard deviation of whitened weights at the start.
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
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
        super().__init__(sigma=sigma, gain=gain, last_gain=last_gain, bias_scale=bias_scale)
        self.rank = check_int("rank", rank, 1)

    def _make(self, spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return LowRankPosterior(spec, self.rank, self.sigma, spread=0.1 * self.sigma, scale=scale, init=init)


class PointWeights(_Plain):
    """One weight vector: no posterior, the maximum a posteriori.

    Args:
        gain: see :class:`PosteriorFamily`.
        last_gain: see :class:`PosteriorFamily`.
        bias_scale: see :class:`PosteriorFamily`.
    """

    def __init__(self, *, gain: float | None = None, last_gain: float = 1.0, bias_scale: float = 0.1) -> None:
        super().__init__(gain=gain, last_gain=last_gain, bias_scale=bias_scale)

    def _make(self, spec: WeightSpec, scale: Whitening, init: Tensor) -> WeightPosterior:
        return DiracPosterior(spec, scale, init)
