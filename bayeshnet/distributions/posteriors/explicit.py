"""Learnable explicit posteriors: modules whose parameters are those of a weight distribution."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...deprecation import renamed_arguments
from ...errors import check_finite, check_floating, check_positive, check_shape, check_size, value_error
from ...representation import settings_of
from ...rng import normal_like
from ...weights import WeightSpec, Whitening
from ..base import check_spec
from ..dirac import Dirac
from ..gaussian import LowRankGaussian, MeanFieldGaussian
from ..radial import Radial
from .base import WeightPosterior
from .export import known_weights, weights_of
from .whitening import resolve_whitening

__all__ = ["DiracPosterior", "LowRankPosterior", "MeanFieldPosterior", "RadialPosterior", "WhitenedMean"]


class WhitenedMean(nn.Module):
    r"""Learned means of whitened weights ``u``, mapped to weights by ``w = loc + scale * u``.

    Args:
        weight_spec: names and shapes of the weights.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial weights ``(P,)``, or a module that has them; those of a Kaiming-initialized network if None.
    """

    def __init__(self, weight_spec: WeightSpec, scale: Any = None, init: nn.Module | Tensor | None = None) -> None:
        super().__init__()
        check_spec(weight_spec)
        like = torch.zeros(())
        whitening = resolve_whitening(scale, weight_spec, like)
        self.loc: Tensor
        self.scale: Tensor
        self.register_buffer("loc", like if whitening is None else whitening.loc)
        self.register_buffer("scale", like + 1 if whitening is None else whitening.scale)
        if init is None:
            kaiming = weight_spec.whitening()
            init = kaiming.loc + kaiming.scale * normal_like(like, (weight_spec.numel,))
        init = weights_of(init, weight_spec)
        check_shape("init", init, (weight_spec.numel,), "Weights are flat vectors; see WeightSpec.flatten.")
        if check_floating("init", init).device != self.loc.device:
            raise value_error("init", expected=f"a tensor on {self.loc.device}; move the posterior", got=init)
        check_finite("init", init)
        self.u = nn.Parameter((init.detach() - self.loc) / self.scale)

    def forward(self) -> Tensor:
        """Compute the means ``(P,)`` of the weights."""
        return self.loc + self.scale * self.u

    def scaled(self, deviations: Tensor) -> Tensor:
        """Convert deviations ``(*B, P)`` of whitened weights to those of weights."""
        return self.scale * deviations


class _MeanPosterior(WeightPosterior):
    """A posterior with learned means.

    Args:
        weight_spec: names and shapes of the weights.
        scale: whitening.
        init: initial means ``(P,)``, or a module that has them.
    """

    def __init__(self, weight_spec: WeightSpec, scale: Any, init: nn.Module | Tensor | None) -> None:
        super().__init__()
        self.weight_spec = weight_spec
        self.mean = WhitenedMean(weight_spec, scale, init)

    @property
    def scale(self) -> Tensor:
        """Scale ``()`` or ``(P,)`` of the map from whitened weights to weights."""
        return self.mean.scale

    @torch.no_grad()
    def start_at(self, init: nn.Module | Tensor) -> None:
        """Move the means to the weights of a module; the widths stay as they are.

        Args:
            init: a module that has the weights, such as a trained one, or a tensor ``(P,)``.

        Example:
            >>> net = nn.Linear(2, 1)
            >>> posterior = MeanFieldPosterior(WeightSpec.of(net), scale="fan_in")
            >>> posterior.start_at(net)
            >>> bool(torch.allclose(posterior().mean[:2], net.weight[0]))
            True
        """
        weights = known_weights(weights_of(init, self.weight_spec), self.weight_spec)
        self.mean.u.copy_((weights.to(self.mean.u) - self.mean.loc) / self.mean.scale)

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that build a posterior of the same structure, for :func:`bayeshnet.save`."""
        return {**settings_of(self), "scale": Whitening(self.mean.loc, self.mean.scale)}

    def _learned_log(self, sigma: float) -> nn.Parameter:
        """Return logarithms ``(P,)`` of standard deviations as a parameter, initially of ``sigma``."""
        return nn.Parameter(torch.full((self.weight_spec.numel,), math.log(sigma)))


class MeanFieldPosterior(_MeanPosterior):
    r"""Independent Gaussian weights with learned means and standard deviations.

    Args:
        weight_spec: names and shapes of the weights.
        sigma: initial standard deviation in units of ``scale``.
        scale: whitening: None, a number, ``(P,)``, a :class:`~bayeshnet.weights.Whitening` or ``"fan_in"``.
        init: initial means ``(P,)``, or a module with these weights, such as a trained one; those of a
            Kaiming-initialized network if None.

    References:
        Blundell, Cornebise, Kavukcuoglu, Wierstra, "Weight uncertainty in neural networks", 2015.

    Example:
        >>> posterior = MeanFieldPosterior(WeightSpec.of(nn.Linear(3, 2)), scale="fan_in")
        >>> posterior.rsample((5,)).shape, type(posterior()).__name__
        (torch.Size([5, 8]), 'MeanFieldGaussian')
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(
        self, weight_spec: WeightSpec, sigma: float = 0.02, scale: Any = None, init: nn.Module | Tensor | None = None
    ) -> None:
        super().__init__(weight_spec, scale, init)
        self.sigma = check_positive("sigma", sigma)
        self.log_sigma = self._learned_log(sigma)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> MeanFieldGaussian:
        """Return the distribution, the same for every condition."""
        mean, std = self.mean(), self.mean.scaled(self.log_sigma.exp())
        return MeanFieldGaussian(mean, std, self.weight_spec, validate_args=False)


class LowRankPosterior(_MeanPosterior):
    r"""A Gaussian of covariance :math:`F F^\top + \mathrm{diag}(d)`, all learned.

    Args:
        weight_spec: names and shapes of the weights.
        rank: number of columns of ``F``.
        sigma: initial standard deviation of the independent part, in units of ``scale``.
        init_std: initial standard deviation of each weight due to ``F``, in units of ``scale``.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial means ``(P,)``, or a module that has them.

    Example:
        >>> LowRankPosterior(WeightSpec.of(nn.Linear(3, 2)), rank=2)().factor.shape
        torch.Size([8, 2])
    """

    @renamed_arguments(spec="weight_spec", spread="init_std")
    def __init__(
        self,
        weight_spec: WeightSpec,
        rank: int = 8,
        sigma: float = 0.02,
        *,
        init_std: float = 0.01,
        scale: Any = None,
        init: nn.Module | Tensor | None = None,
    ) -> None:
        super().__init__(weight_spec, scale, init)
        self.rank = check_size("rank", rank)
        self.sigma = check_positive("sigma", sigma)
        self.init_std = check_positive("init_std", init_std)
        factor = normal_like(self.mean.u, (weight_spec.numel, rank))
        self.factor_u = nn.Parameter(factor * (init_std / math.sqrt(rank)))
        self.log_sigma = self._learned_log(sigma)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> LowRankGaussian:
        """Return the distribution, the same for every condition."""
        factor = self.mean.scaled(self.factor_u.T).T
        diag = self.mean.scaled(self.log_sigma.exp()) ** 2
        return LowRankGaussian(self.mean(), factor, diag, self.weight_spec, validate_args=False)


class RadialPosterior(_MeanPosterior):
    r"""A radial distribution per tensor with learned means and scales.

    Args:
        weight_spec: names and shapes of the weights.
        sigma: initial scale in units of ``scale``; a weight of a tensor of ``d`` has standard deviation
            ``sigma / sqrt(d)``.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial means ``(P,)``, or a module that has them.

    References:
        Farquhar, Osborne, Gal, "Radial Bayesian neural networks", 2020.

    Example:
        >>> RadialPosterior(WeightSpec.of(nn.Linear(3, 2))).rsample((4,)).shape
        torch.Size([4, 8])
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(
        self, weight_spec: WeightSpec, sigma: float = 0.1, scale: Any = None, init: nn.Module | Tensor | None = None
    ) -> None:
        super().__init__(weight_spec, scale, init)
        self.sigma = check_positive("sigma", sigma)
        self.log_sigma = self._learned_log(sigma)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Radial:
        """Return the distribution, the same for every condition."""
        mean, scale = self.mean(), self.mean.scaled(self.log_sigma.exp())
        return Radial(mean, scale, self.weight_spec, validate_args=False)


class DiracPosterior(_MeanPosterior):
    """A single learned weight vector, for maximum a-posteriori learning.

    Args:
        weight_spec: names and shapes of the weights.
        scale: whitening as in :class:`MeanFieldPosterior`.
        init: initial weights ``(P,)``, or a module that has them.

    Example:
        >>> DiracPosterior(WeightSpec.of(nn.Linear(3, 2)))().rsample((4,)).shape
        torch.Size([4, 8])
    """

    @renamed_arguments(spec="weight_spec")
    def __init__(self, weight_spec: WeightSpec, scale: Any = None, init: nn.Module | Tensor | None = None) -> None:
        super().__init__(weight_spec, scale, init)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Dirac:
        """Return the distribution, the same for every condition."""
        return Dirac(self.mean(), self.weight_spec)
