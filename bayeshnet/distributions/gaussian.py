"""Gaussian weight distributions: independent weights, and low rank plus diagonal."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import check_floating, check_shape
from ..geometry.linalg import capacitance_cholesky
from ..memo import transforms_active
from ..rng import normal_like
from ..speed import shortcuts
from ..weights import WeightSpec
from .base import WeightDistribution, WeightDraw, check_parameters, check_spec, check_value

__all__ = ["LowRankGaussian", "MeanFieldGaussian", "diagonal_kl", "reparameterized"]

_LOG_2PI = math.log(2 * math.pi)


class MeanFieldGaussian(WeightDistribution):
    r"""Independent Gaussian weights :math:`w_i \sim N(loc_i, scale_i^2)`.

    Args:
        loc: means ``(P,)``.
        scale: standard deviations, ``(P,)`` or ``()``.
        weight_spec: names and shapes of the weights.
        validate_args: check the values of ``scale``; torch's default if None.

    Example:
        >>> q = MeanFieldGaussian(torch.zeros(3), torch.tensor(0.5))
        >>> q.rsample((2,)).shape, round(float(q.log_prob(torch.zeros(3))), 4)
        (torch.Size([2, 3]), -0.6774)
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        weight_spec: WeightSpec | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loc = _vector("loc", loc)
        check_floating("scale", scale)
        self.scale = scale.expand(self.loc.shape) if scale.ndim == 0 else check_shape("scale", scale, self.loc.shape)
        self.weight_spec = None if weight_spec is None else check_spec(weight_spec, self.loc.shape[0])
        check_parameters(validate_args, {"scale": self.scale}, loc=self.loc)
        super().__init__(torch.Size(), self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Means ``(P,)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``."""
        return self.scale**2

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors ``loc + scale * eps``."""
        eps = normal_like(self.loc, (num, self.loc.shape[0]), generator)
        return WeightDraw(reparameterized(self.loc, self.scale, eps), None, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats."""
        check_value(value, self.loc.shape[0], self.loc)
        standard = (value - self.loc) / self.scale
        return -0.5 * (standard**2).sum(-1) - self.scale.log().sum() - 0.5 * self.loc.numel() * _LOG_2PI

    def entropy(self) -> Tensor:
        """Compute the differential entropy in nats."""
        return self.scale.log().sum() + 0.5 * self.loc.numel() * (1 + _LOG_2PI)

    def detached(self) -> MeanFieldGaussian:
        """Return the distribution with detached parameters."""
        return MeanFieldGaussian(self.loc.detach(), self.scale.detach(), self.weight_spec, validate_args=False)


class LowRankGaussian(WeightDistribution):
    r"""Gaussian of covariance :math:`F F^\top + \mathrm{diag}(d)`, the distribution of a linear hypernetwork's weights.

    Args:
        loc: mean ``(P,)``.
        factor: ``F`` ``(P, r)``; the rank may exceed ``P``.
        diag: *variances* ``d`` of the independent part, ``(P,)`` (as ``cov_diag`` of
            ``torch.distributions.LowRankMultivariateNormal``).
        weight_spec: names and shapes of the weights.
        validate_args: check the values of ``diag``; torch's default if None.

    Shape:
        Draws are ``w`` ``(S, P)``, ``z`` ``(S, r)``, ``eps`` ``(S, P)``. Densities cost ``O(P r^2 + r^3)``.

    Example:
        >>> q = LowRankGaussian(torch.zeros(2), torch.ones(2, 1), torch.ones(2))
        >>> round(float(q.log_prob(torch.zeros(2))), 4)
        -2.3872
    """

    arg_constraints = {"loc": constraints.real_vector, "diag": constraints.independent(constraints.positive, 1)}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        factor: Tensor,
        diag: Tensor,
        weight_spec: WeightSpec | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.loc = _vector("loc", loc)
        self.factor = check_shape("factor", factor, (self.loc.shape[0], None))
        self.diag = check_shape("diag", diag, self.loc.shape, "These are variances, not standard deviations.")
        for name, tensor in (("factor", factor), ("diag", diag)):
            check_floating(name, tensor)
        self.weight_spec = None if weight_spec is None else check_spec(weight_spec, self.loc.shape[0])
        check_parameters(validate_args, {"diag": self.diag}, loc=self.loc, factor=self.factor)
        super().__init__(torch.Size(), self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Means ``(P,)``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances ``(P,)``."""
        return self.diag + (self.factor**2).sum(-1)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors ``loc + F z + sqrt(d) * eps``."""
        z = normal_like(self.loc, (num, self.factor.shape[1]), generator)
        eps = normal_like(self.loc, (num, self.loc.shape[0]), generator)
        return WeightDraw(self.loc + z @ self.factor.T + self.diag.sqrt() * eps, z, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density ``(*B,)`` of ``value`` ``(*B, P)``, in nats, by Woodbury's identity."""
        check_value(value, self.loc.shape[0], self.loc)
        root = capacitance_cholesky(self.factor, self.diag)
        residual = (value - self.loc) / self.diag.sqrt()
        inner = (residual / self.diag.sqrt()) @ self.factor.to(residual)
        solved = torch.linalg.solve_triangular(root, inner.to(root).unsqueeze(-1), upper=False).squeeze(-1)
        quadratic = (residual**2).sum(-1) - (solved**2).sum(-1).to(residual)
        found: Tensor = -0.5 * quadratic - 0.5 * self._log_det(root) - 0.5 * self.loc.numel() * _LOG_2PI
        return found

    def entropy(self) -> Tensor:
        """Compute the differential entropy in nats."""
        log_det = self._log_det(capacitance_cholesky(self.factor, self.diag))
        return 0.5 * log_det + 0.5 * self.loc.numel() * (1 + _LOG_2PI)

    def detached(self) -> LowRankGaussian:
        """Return the distribution with detached parameters."""
        parts = (self.loc.detach(), self.factor.detach(), self.diag.detach())
        return LowRankGaussian(*parts, self.weight_spec, validate_args=False)

    def _log_det(self, root: Tensor) -> Tensor:
        return self.diag.log().sum() + 2 * root.diagonal().log().sum().to(self.diag)


def _vector(argument: str, value: Tensor) -> Tensor:
    return check_floating(
        argument, check_shape(argument, value, (None,), "Weights are flat vectors; see WeightSpec.flatten.")
    )


def diagonal_kl(loc: Tensor, scale: Tensor, other_loc: Tensor, other_scale: Tensor) -> Tensor:
    r"""Compute the KL between Gaussians with independent entries, summed over entries: ``()``, in nats.

    .. math:: \sum_i \tfrac12 (r_i^2 - 1 + d_i^2) - \log r_i, \qquad r_i = s_i / s'_i, \; d_i = (m_i - m'_i) / s'_i

    Args:
        loc: means :math:`m`.
        scale: standard deviations :math:`s`, of the same shape.
        other_loc: means :math:`m'` of the second Gaussian, of the same shape or ``()``.
        other_scale: standard deviations :math:`s'` of the second Gaussian, of the same shape or ``()``.
    """
    ratio, shift = scale / other_scale, (loc - other_loc) / other_scale
    # r^2 - 1 as a product, since near one the difference would lose its digits.
    terms = torch.addcmul((ratio - 1) * (ratio + 1), shift, shift).sub(ratio.log(), alpha=2)
    return 0.5 * terms.sum()


def reparameterized(loc: Tensor, scale: Tensor, eps: Tensor) -> Tensor:
    """Compute ``loc + scale * eps`` ``(S, P)`` from ``loc``, ``scale`` ``(P,)`` and constant ``eps`` ``(S, P)``."""
    limits = shortcuts()
    blocked = len(eps) <= limits.few_draws and eps.shape[-1] >= limits.long_weights
    if not blocked or not scale.requires_grad or transforms_active():
        return torch.addcmul(loc, scale, eps)
    out: Tensor = _Reparameterized.apply(loc, scale, eps)  # type: ignore[no-untyped-call]
    return out


class _Reparameterized(torch.autograd.Function):
    """The function :func:`reparameterized`, whose gradient is accumulated row by row, without a product ``(S, P)``."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor, eps: Tensor) -> Tensor:
        ctx.save_for_backward(eps)
        return torch.addcmul(loc, scale, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (eps,) = ctx.saved_tensors
        total = torch.zeros_like(grad[0])
        for row, noise in zip(grad.unbind(), eps.unbind(), strict=True):
            total = torch.addcmul(total, row, noise) if torch.is_grad_enabled() else total.addcmul_(row, noise)
        return grad.sum(0), total, None
