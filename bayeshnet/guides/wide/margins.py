"""Margins of a few unknowns that are no normals, found on a grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...rng import normal_like
from ..checking.tails import stretched, unstretched
from .newton import LogDensity

__all__ = ["Margins", "fitted_margins"]

_REACH, _POINTS, _ROWS, _STEPS = 6.0, 25, (16, 128), 60
"""Of the grid: its ends, its points, least and most draws of the others, and most steps of a fit."""

_POWERS, _SKEWS = 1.5, 2.0
"""Largest logarithms of powers and largest skewness."""


class Margins(nn.Module):
    r"""A bijection of the first ``k`` unknowns, :math:`w = m + s \, T(u)`, that leaves the others.

    ``T`` is that of :class:`~bayeshnet.guides.checking.tails.Tails`, with a power and a skewness. It is not learned.

    Args:
        loc: ``m``, ``(k,)``.
        scale: ``s``, positive.
        power: of ``T``, positive.
        skew: of ``T``.

    Example:
        >>> margins = Margins(torch.tensor([1.0]), torch.tensor([2.0]), torch.ones(1), torch.zeros(1))
        >>> w, log_density = margins.place(torch.tensor([3.0, 5.0]))
        >>> w.round(decimals=4).tolist(), log_density.exp().tolist()
        ([7.0, 5.0], [0.5, 1.0])
    """

    def __init__(self, loc: Tensor, scale: Tensor, power: Tensor, skew: Tensor) -> None:
        super().__init__()
        self.loc: Tensor
        self.scale: Tensor
        self.power: Tensor
        self.skew: Tensor
        for name, value in {"loc": loc, "scale": scale, "power": power, "skew": skew}.items():
            self.register_buffer(name, value.detach().clone())

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``w`` ``(*B, D)`` and the log-density of the change for each entry."""
        leading, others = u.split([len(self.loc), u.shape[-1] - len(self.loc)], -1)
        moved, density = stretched(leading, self.power, self.skew)
        moved = self.loc + self.scale * moved
        return torch.cat([moved, others], -1), torch.cat([density - self.scale.log(), torch.zeros_like(others)], -1)

    def undo(self, w: Tensor) -> Tensor:
        """Return ``u`` ``(*B, D)``."""
        leading, others = w.split([len(self.loc), w.shape[-1] - len(self.loc)], -1)
        return torch.cat([unstretched((leading - self.loc) / self.scale, self.power, self.skew), others], -1)


def plain_margins(count: int, like: Tensor) -> Margins:
    """Return the identity."""
    one = like.new_ones(count)
    return Margins(0 * one, one, one, 0 * one)


@torch.no_grad()
def fitted_margins(
    log_density: LogDensity, count: int, like: Tensor, generator: torch.Generator | None = None, block_size: int = 256
) -> Margins:
    r"""Find margins of the first unknowns of a density that is near a standard normal.

    With all others at theirs, the margin that lets the evidence lower bound be largest is

    .. math:: q(u_j) \propto \exp E_{-j} \log p(u),

    here on a grid, with draws of the others. One after the other is found so, and approached in KL.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``.
        count: number ``k`` of them.
        like: a tensor ``(D,)``.
        generator: of all noise.
        block_size: most rows of a call of the function.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, section 10.1.
        Jones, Pewsey, "Sinh-arcsinh distributions", 2009.

    Example:
        >>> def half(u):  # normal, and log-gamma of shape 2
        ...     return -0.5 * u[:, 1].square() + 2 * u[:, 0] - u[:, 0].exp()
        >>> found = fitted_margins(half, 1, torch.zeros(2), torch.Generator().manual_seed(0))
        >>> w, _ = found.place(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        >>> [round(float(x), 1) for x in torch.special.gammainc(torch.tensor(2.0), w[:, 0].exp())]  # 0.16 and 0.84
        [0.2, 0.8]
    """
    least, most = _ROWS
    half = normal_like(like, (max(least, min(most, 1024 // count)) // 2, like.numel()), generator)
    noise = torch.cat([half, -half])
    grid = torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64, device=like.device)
    margins = plain_margins(count, like)
    for place in range(count):
        rows = margins.place(noise)[0].repeat(_POINTS, 1)
        rows[:, place] = grid.to(like).repeat_interleave(len(noise))
        values = torch.cat([log_density(some) for some in rows.split(block_size)]).double()
        mean = values.unflatten(0, (_POINTS, -1)).mean(1).nan_to_num(-math.inf, -math.inf, -math.inf)
        found = _fit(grid, (mean - mean.max()).softmax(0))
        if found is None:
            continue
        for part, value in zip((margins.loc, margins.scale, margins.power, margins.skew), found, strict=True):
            part[place] = value
    return margins


@torch.enable_grad()
def _fit(grid: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Return location, scale, power and skewness nearest in KL to a density on a grid; None if there are none."""
    mean = (shares * grid).sum()
    std = (shares * (grid - mean).square()).sum().sqrt()
    start = torch.stack([mean, std.log(), 0 * mean, 0 * mean]).detach()
    parameters = start.requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def parts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        loc, log_scale, log_power, skew = parameters
        power = (_POWERS * (log_power / _POWERS).tanh()).exp()
        return loc, log_scale.exp(), power, _SKEWS * (skew / _SKEWS).tanh()

    def closure() -> float:
        optimizer.zero_grad()
        loc, scale, power, skew = parts()
        u = unstretched((grid - loc) / scale, power, skew)
        density = stretched(u, power, skew)[1] - scale.log() - 0.5 * u.square()
        loss = -(shares * density).sum()
        loss.backward()
        return float(loss.detach())

    if not bool(start.isfinite().all()):
        return None
    optimizer.step(closure)
    found = tuple(part.detach() for part in parts())
    loc, scale, power, skew = found
    return (loc, scale, power, skew) if all(bool(part.isfinite()) for part in found) else None
