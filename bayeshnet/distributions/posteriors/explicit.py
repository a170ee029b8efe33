"""Learnable explicit posteriors: modules that own the parameters of a weight distribution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import check_int, check_positive, check_shape
from ...rng import normal_like
from ...weights import WeightSpec
from ..dirac import Dirac
from ..gaussian import LowRankGaussian, MeanFieldGaussian
from ..radial import Radial
from .base import WeightPosterior
from .whitening import resolve_whitening

__all__ = ["DiracPosterior", "LowRankPosterior", "MeanFieldPosterior", "RadialPosterior", "WhitenedMean"]


class WhitenedMean(nn.Module):
    r"""Learned means in u-space with the map ``w = loc + scale * u`` to weights; a part of the posteriors below.

    Args:
        spec: names and shapes of the weights.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial weights ``(P,)``; drawn as a Kaiming-initialized network if None.
    """

    def __init__(self, spec: WeightSpec, scale: Any = None, init: Tensor | None = None) -> None:
        super().__init__()
        like = torch.zeros(())
        whitening = resolve_whitening(scale, spec, like)
        self.loc: Tensor
        self.scale: Tensor
        self.register_buffer("loc", like if whitening is None else whitening.loc)
        self.register_buffer("scale", like + 1 if whitening is None else whitening.scale)
        if init is None:
            kaiming = spec.whitening()
            init = kaiming.loc + kaiming.scale * normal_like(like, (spec.numel,))
        check_shape("init", init, (spec.numel,), "Weights are flat vectors; see WeightSpec.flatten.")
        self.u = nn.Parameter((init.detach() - self.loc) / self.scale)

    def forward(self) -> Tensor:
        """The means ``(P,)`` of the weights."""
        return self.loc + self.scale * self.u

    def spread(self, sigma: Tensor) -> Tensor:
        """Standard deviations ``(*B, P)`` of weights from those of whitened weights."""
        return self.scale * sigma


class MeanFieldPosterior(WeightPosterior):
    r"""Independent Gaussian weights with learned means and standard deviations.

    Args:
        spec: names and shapes of the weights.
        sigma: initial standard deviation in units of ``scale``.
        scale: whitening: None, a number, ``(P,)``, a :class:`~bayeshnet.weights.Whitening` or ``"fan_in"``.
        init: initial means ``(P,)`` of the weights; drawn as a Kaiming-initialized network if None.

    References:
        Blundell, Cornebise, Kavukcuoglu, Wierstra, "Weight uncertainty in neural networks", 2015.

    Example:
        >>> posterior = MeanFieldPosterior(WeightSpec.of(nn.Linear(3, 2)), scale="fan_in")
        >>> posterior.rsample((5,)).shape, type(posterior()).__name__
        (torch.Size([5, 8]), 'MeanFieldGaussian')
    """

    def __init__(self, spec: WeightSpec, sigma: float = 0.02, scale: Any = None, init: Tensor | None = None) -> None:
        super().__init__()
        self.weight_spec = spec
        self.mean = WhitenedMean(spec, scale, init)
        self.log_sigma = nn.Parameter(torch.full((spec.numel,), math.log(check_positive("sigma", sigma))))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> MeanFieldGaussian:
        """The distribution, whatever the condition."""
        mean, std = self.mean(), self.mean.spread(self.log_sigma.exp())
        return MeanFieldGaussian(mean, std, self.weight_spec, validate_args=False)


class LowRankPosterior(WeightPosterior):
    r"""A Gaussian of covariance :math:`F F^\top + \mathrm{diag}(d)`, all learned.

    Args:
        spec: names and shapes of the weights.
        rank: number of columns of ``F``.
        sigma: initial standard deviation of the independent part in units of ``scale``.
        spread: initial standard deviation per weight of what ``F`` adds, in units of ``scale``.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial means ``(P,)``.

    Example:
        >>> LowRankPosterior(WeightSpec.of(nn.Linear(3, 2)), rank=2)().factor.shape
        torch.Size([8, 2])
    """

    def __init__(
        self,
        spec: WeightSpec,
        rank: int = 8,
        sigma: float = 0.02,
        *,
        spread: float = 0.01,
        scale: Any = None,
        init: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.weight_spec = spec
        self.mean = WhitenedMean(spec, scale, init)
        check_int("rank", rank, 1)
        factor = normal_like(self.mean.u, (spec.numel, rank))
        self.factor_u = nn.Parameter(factor * (check_positive("spread", spread) / math.sqrt(rank)))
        self.log_sigma = nn.Parameter(torch.full((spec.numel,), math.log(check_positive("sigma", sigma))))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> LowRankGaussian:
        """The distribution, whatever the condition."""
        factor = self.mean.spread(self.factor_u.T).T
        diag = self.mean.spread(self.log_sigma.exp()) ** 2
        return LowRankGaussian(self.mean(), factor, diag, self.weight_spec, validate_args=False)


class RadialPosterior(WeightPosterior):
    r"""A radial distribution per tensor with learned means and scales.

    Args:
        spec: names and shapes of the weights.
        sigma: initial scale in units of ``scale``; a weight of a tensor of ``d`` has standard deviation
            ``sigma / sqrt(d)``.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial means ``(P,)``.

    References:
        Farquhar, Osborne, Gal, "Radial Bayesian neural networks", 2020.

    Example:
        >>> RadialPosterior(WeightSpec.of(nn.Linear(3, 2))).rsample((4,)).shape
        torch.Size([4, 8])
    """

    def __init__(self, spec: WeightSpec, sigma: float = 0.1, scale: Any = None, init: Tensor | None = None) -> None:
        super().__init__()
        self.weight_spec = spec
        self.mean = WhitenedMean(spec, scale, init)
        self.log_sigma = nn.Parameter(torch.full((spec.numel,), math.log(check_positive("sigma", sigma))))

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Radial:
        """The distribution, whatever the condition."""
        mean, spread = self.mean(), self.mean.spread(self.log_sigma.exp())
        return Radial(mean, spread, self.weight_spec, validate_args=False)


class DiracPosterior(WeightPosterior):
    """A single learned weight vector: maximum a-posteriori learning.

    Args:
        spec: names and shapes of the weights.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial weights ``(P,)``.

    Example:
        >>> DiracPosterior(WeightSpec.of(nn.Linear(3, 2)))().rsample((4,)).shape
        torch.Size([4, 8])
    """

    def __init__(self, spec: WeightSpec, scale: Any = None, init: Tensor | None = None) -> None:
        super().__init__()
        self.weight_spec = spec
        self.mean = WhitenedMean(spec, scale, init)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Dirac:
        """The distribution, whatever the condition."""
        return Dirac(self.mean(), self.weight_spec)
