"""A Gaussian near a density by Newton's method on its evidence lower bound: where guides of many unknowns begin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...geometry.linalg import precise
from ...rng import normal_like

__all__ = ["GaussianStart", "variational_newton"]

LogDensity = Callable[[Tensor], Tensor]

_JUDGED, _WIDEST, _ENOUGH, _RATES = 64, 5.0, 0.003, (1.0, 0.5, 0.2, 0.05)
_FAILURES, _AVERAGED, _EVALUATIONS = (1, 3), (2, 8), 1000
"""Least and most steps in vain before the end, and steps that average; fewer where each takes more evaluations."""


@dataclass(frozen=True)
class GaussianStart:
    """A Gaussian, and its bound.

    Attributes:
        loc: mean ``(D,)``.
        root: lower Cholesky factor of the covariance ``(D, D)``.
        bound: mean log-density of 64 draws, and the logarithm of the determinant of the root, in nats.
    """

    loc: Tensor
    root: Tensor
    bound: float


def variational_newton(
    log_density: LogDensity,
    loc: Tensor,
    scale: float | Tensor,
    *,
    rounds: int = 60,
    near: bool = False,
    block_size: int = 256,
    generator: torch.Generator | None = None,
) -> GaussianStart | None:
    r"""Find a Gaussian :math:`N(m, L L^\top)` near a density, from a sphere.

    At the best one the mean gradient of the log-density ``f`` is zero, and its mean curvature the inverse covariance.
    In coordinates :math:`m + L v` these are, with directions :math:`e_i` and noise :math:`\xi_i` in all others,

    .. math:: g = E\, L^\top \nabla f, \qquad
        H e_i = -\tfrac12 E \big[ L^\top \nabla f(m + L(\xi_i + e_i)) - L^\top \nabla f(m + L(\xi_i - e_i)) \big],

    quadratures of two points along each direction. Of a Gaussian all are exact: the mean gradient is corrected by the
    curvature for the mean of the noise. A step of rate ``r`` goes to the curvature
    :math:`(1 - r) I + r |H|`, and by ``r`` times its inverse times ``g``. Of some rates the first that raises the bound
    of 64 draws is taken; standard deviations grow at most fivefold in a step. The last steps, two to eight, average,
    with rates 1/2, 1/3, ...: the fewer the more unknowns there are, whose gradients average too.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``, differentiable.
        loc: where to begin, ``(D,)``.
        scale: standard deviation at first, or the root ``(D, D)``.
        rounds: most steps before the last.
        near: True to end with the first step in vain and one that averages, for a Gaussian that begins near.
        block_size: most rows of a call of the function with its gradient.
        generator: of all noise.

    Returns:
        The Gaussian; None if the log-density of the first draws is not finite.

    References:
        Opper, Archambeau, "The variational Gaussian approximation revisited", 2009.
        Dauphin et al., "Identifying and attacking the saddle point problem in high-dimensional non-convex
        optimization", 2014.

    Example:
        >>> noise = torch.Generator().manual_seed(0)
        >>> found = variational_newton(lambda x: -2 * (x - 3.0).square().sum(-1), torch.zeros(2), 0.1, generator=noise)
        >>> found.loc.round(decimals=3), found.root.round(decimals=3)
        (tensor([3., 3.]), tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]]))
    """
    search = _Search(log_density, loc.detach(), block_size, generator)
    eye = torch.eye(loc.numel(), dtype=loc.dtype, device=loc.device)
    current = search.judged(loc.detach(), scale if isinstance(scale, Tensor) else scale * eye)
    if current.bound == -math.inf:
        return None
    failures = taken = 0
    usual = (max(least, min(most, _EVALUATIONS // loc.numel())) for least, most in (_FAILURES, _AVERAGED))
    patience, averaged = (1, 1) if near else usual
    while taken < rounds and failures < patience:
        step = search.step(current)
        better = (found for found in map(step, _RATES) if found.bound > current.bound)
        found = next(better, current)
        failures = 0 if found.bound - current.bound > _ENOUGH * loc.numel() else failures + 1
        current, taken = found, taken + 1
    for index in range(averaged):
        found = search.step(current)(1 / (index + 2))
        current = found if found.bound > current.bound - 1.0 else current
    return current


class _Search:
    """Steps towards a density, judged by draws of common noise.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``.
        like: a tensor ``(D,)``.
        block_size: most rows of a call of the function with its gradient.
        generator: of all noise.
    """

    def __init__(
        self, log_density: LogDensity, like: Tensor, block_size: int, generator: torch.Generator | None
    ) -> None:
        self.log_density, self.block_size, self.generator = log_density, block_size, generator
        half = normal_like(like, (_JUDGED // 2, like.numel()), generator)
        self.noise = torch.cat([half, -half])

    @torch.no_grad()
    def judged(self, loc: Tensor, root: Tensor) -> GaussianStart:
        """Return the Gaussian with its bound, minus infinity where that is not finite."""
        value = self.log_density(loc + self.noise @ root.mT).double().mean() + root.diagonal().double().log().sum()
        return GaussianStart(loc, root, float(value) if bool(value.isfinite()) else -math.inf)

    def step(self, start: GaussianStart) -> Callable[[float], GaussianStart]:
        """Return the function from a rate to the Gaussian to which a step of that rate goes, or the start."""
        gradient, curvature = self._derivatives(start.loc, start.root)
        if not bool(curvature.isfinite().all() & gradient.isfinite().all()):
            return lambda rate: start
        values, vectors = torch.linalg.eigh(precise(curvature))
        values = values.abs().clamp_min(_WIDEST**-2)
        along = vectors.mT @ precise(gradient)

        def at(rate: float) -> GaussianStart:
            level = 1 + rate * (values - 1)
            wide = precise(start.root) @ (vectors / level.sqrt())
            root, failed = torch.linalg.cholesky_ex(wide @ wide.mT)
            if bool(failed):
                return start
            moved = start.root @ (vectors @ (along / level)).to(start.loc)
            return self.judged(start.loc + rate * moved, root.to(start.loc))

        return at

    def _derivatives(self, loc: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean gradient ``(D,)`` and negative curvature ``(D, D)`` in the Gaussian's own coordinates."""
        size = loc.numel()
        repeats = max(1, _JUDGED // size)
        eye = torch.eye(size, dtype=loc.dtype, device=loc.device).repeat(repeats, 1)
        noise = normal_like(loc, (repeats * size, size), self.generator) * (1 - eye)
        parts = []
        for block in torch.cat([noise + eye, noise - eye]).split(self.block_size):
            x = (loc + block @ root.mT).requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(self.log_density(x).sum(), x)
            parts.append(gradient @ root)
        above, below = torch.cat(parts).split(repeats * size)
        curvature = 0.5 * (below - above).unflatten(0, (repeats, size)).mean(0)
        curvature = 0.5 * (curvature + curvature.mT)
        return 0.5 * (above + below).mean(0) + curvature @ noise.mean(0), curvature
