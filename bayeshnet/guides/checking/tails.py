"""Learned tails: each unknown of a guide through a monotone function that makes its tails heavier, lighter or skew."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Tails", "stretched", "unit_scale", "unstretched"]


class Tails(nn.Module):
    r"""Elementwise bijections with learned tails, whose densities are known.

    With :math:`y = (u - m) / s`, power ``p`` and skewness ``e``,

    .. math:: x = m + s \, \frac{\sinh(p (\operatorname{asinh} y + e)) - \sinh(p e)}{p \cosh(p e)} .

    At ``p = 1`` and ``e = 0`` it is the identity; the slope at ``m`` is one always. Far out ``x`` grows like
    :math:`|y|^p`, so that normal ``y`` gives exponential tails at ``p = 2``. All four are learned.

    Args:
        loc: initial ``m``, ``(D,)``.
        power: initial ``p``.

    References:
        Jones, Pewsey, "Sinh-arcsinh distributions", 2009.

    Example:
        >>> tails = Tails(torch.zeros(2))
        >>> x, log_density = tails.place(torch.tensor([1.0, -3.0]))
        >>> torch.allclose(x, torch.tensor([1.0, -3.0])), torch.allclose(log_density, torch.zeros(2), atol=1e-6)
        (True, True)
    """

    def __init__(self, loc: Tensor, power: float = 1.0) -> None:
        super().__init__()
        self.loc = nn.Parameter(loc.clone())
        self.log_scale = nn.Parameter(torch.zeros_like(loc))
        self.log_power = nn.Parameter(torch.full_like(loc, math.log(power)))
        self.skew = nn.Parameter(torch.zeros_like(loc))

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return ``x`` and the log-density of the change, :math:`-\log |dx / du|`, for each entry of ``u``."""
        scale = self.log_scale.exp()
        x, log_density = stretched((u - self.loc) / scale, self.log_power.exp(), self.skew)
        return self.loc + scale * x, log_density

    def undo(self, x: Tensor) -> Tensor:
        """Return ``u``."""
        scale = self.log_scale.exp()
        return self.loc + scale * unstretched((x - self.loc) / scale, self.log_power.exp(), self.skew)


def stretched(y: Tensor, power: Tensor, skew: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`(\sinh(p (\operatorname{asinh} y + e)) - \sinh(p e)) / (p \cosh(p e))`, and the log-density."""
    at, moved = power * skew, power * (y.asinh() + skew)
    x = (moved.sinh() - at.sinh()) / (power * at.cosh())
    return x, at.cosh().log() + 0.5 * torch.log1p(y**2) - _log_cosh(moved)


def unit_scale(power: float | None) -> float:
    """Compute the standard deviation of a normal that tails of a power, without skewness, take to one of 1."""
    if power is None:
        return 1.0
    v = torch.linspace(-8.0, 8.0, 801, dtype=torch.float64)
    shares = (-0.5 * v.square()).softmax(0)
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        x, _ = stretched(middle * v, v.new_tensor(power), v.new_zeros(()))
        low, high = (middle, high) if float((shares * x.square()).sum()) < 1 else (low, middle)
    return 0.5 * (low + high)


def unstretched(x: Tensor, power: Tensor, skew: Tensor) -> Tensor:
    """Return what :func:`stretched` takes to ``x``."""
    at = power * skew
    return ((x * power * at.cosh() + at.sinh()).asinh() / power - skew).sinh()


def _log_cosh(x: Tensor) -> Tensor:
    """Return the logarithm of the hyperbolic cosine, also of large numbers."""
    return x.abs() + torch.log1p((-2 * x.abs()).exp()) - 0.6931471805599453
