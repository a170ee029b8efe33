"""Annealed particles: rough draws from all modes of a density, found without a guide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from ...rng import normal_like, uniform_like
from .starts import Start

__all__ = ["Chains", "Particles", "anneal", "anneal_again"]

LogDensity = Callable[[Tensor], Tensor]

_LEAPFROGS, _MOVES, _LAST_MOVES = 6, 2, 4
_BISECTIONS, _WIDER = 40, 1.5


@dataclass(frozen=True)
class Particles:
    """Particles that were carried from a Gaussian to a density, and the logarithm of its integral in nats.

    Attributes:
        x: places ``(S, D)``.
        log_density: of the places, ``(S,)``.
        log_evidence: estimate of the logarithm of the density's integral.
        arrived: False if the budget ended at a higher temperature.
        gradients: evaluations of the density with its gradient, all particles at once.
    """

    x: Tensor
    log_density: Tensor
    log_evidence: float
    arrived: bool
    gradients: int


def anneal(
    log_density: LogDensity,
    center: Tensor,
    scale: Tensor,
    num: int,
    budget: int = 600,
    generator: torch.Generator | None = None,
    *,
    keep: float = 0.6,
) -> Particles:
    r"""Carry particles from a Gaussian to a density, through :math:`N(m, s^2)^{1 - t} \, p^t` with rising ``t``.

    Each ``t`` keeps an effective share ``keep`` of the particles. They are resampled by their weights and moved by
    Hamiltonian dynamics, whose step sizes are spread over a factor of ten, so that narrow and wide modes are both
    explored. Modes keep their shares, up to chance, if the first particles reach all of them.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``, differentiable.
        center: mean ``m`` of the Gaussian, ``(D,)``.
        scale: its standard deviations ``s`` ``(D,)``.
        num: number ``S`` of particles.
        budget: most evaluations of the density's gradient.
        generator: of all noise.
        keep: effective share of the particles at each temperature, the nearer to one the slower and the more exact.

    References:
        Del Moral, Doucet, Jasra, "Sequential Monte Carlo samplers", 2006.

    Example:
        >>> two = lambda x: torch.logaddexp(-0.5 * (x[:, 0] - 5) ** 2, -0.5 * (x[:, 0] + 5) ** 2)
        >>> found = anneal(two, torch.zeros(1), 4 * torch.ones(1), 500, generator=torch.Generator().manual_seed(0))
        >>> found.arrived, abs(float((found.x > 0).float().mean()) - 0.5) < 0.1
        (True, True)
    """
    return _Annealing(log_density, _Independent(center, scale), scale, generator).run(num, budget, keep)


def anneal_again(
    log_density: LogDensity,
    starts: Sequence[Start],
    num: int,
    budget: int = 600,
    generator: torch.Generator | None = None,
    *,
    keep: float = 0.8,
) -> Particles:
    """Carry particles to a density from the Gaussians of clusters of particles that have been there before.

    The way is short, so that few particles are lost on it, and modes get their shares nearer than from the prior.

    Args:
        log_density: as for :func:`anneal`.
        starts: clusters, with their roots; their Gaussians are drawn one and a half times as wide.
        num: number of particles.
        budget: most evaluations of the density's gradient.
        generator: of all noise.
        keep: effective share of the particles at each temperature.
    """
    loc = torch.stack([start.loc for start in starts])
    root = torch.stack([cast(Tensor, start.root) for start in starts])
    base = _Gaussians(loc, _WIDER * root, loc.new_tensor([start.log_share for start in starts]))
    return _Annealing(log_density, base, root.square().sum(-1).mean(0).sqrt(), generator).run(num, budget, keep)


class _Base(Protocol):
    """Where particles begin."""

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw places ``(num, D)``."""

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-densities ``(S,)`` at places ``(S, D)`` and their gradients ``(S, D)``."""


@dataclass(frozen=True)
class _Independent:
    """Independent Gaussians of means and standard deviations ``(D,)``."""

    center: Tensor
    scale: Tensor

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw places ``(num, D)``."""
        return self.center + self.scale * normal_like(self.center, (num, len(self.center)), generator)

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-densities ``(S,)`` at places ``(S, D)`` and their gradients ``(S, D)``."""
        standard = (x - self.center) / self.scale
        return (-0.5 * standard**2 - self.scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1), -standard / self.scale


@dataclass(frozen=True)
class _Gaussians:
    """A mixture of Gaussians of means ``(K, D)``, Cholesky factors ``(K, D, D)`` and log-weights ``(K,)``."""

    loc: Tensor
    root: Tensor
    log_weights: Tensor

    def draw(self, num: int, generator: torch.Generator | None) -> Tensor:
        """Draw places ``(num, D)``."""
        weights = self.log_weights.exp().cumsum(0)
        points = uniform_like(self.loc, (num,), generator) * weights[-1]
        index = torch.searchsorted(weights, points).clamp_max(len(weights) - 1)
        noise = normal_like(self.loc, (num, self.loc.shape[1]), generator)
        return self.loc[index] + (self.root[index] @ noise.unsqueeze(-1)).squeeze(-1)

    def density(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-densities ``(S,)`` at places ``(S, D)`` and their gradients ``(S, D)``."""
        away = (x - self.loc.unsqueeze(1)).transpose(-1, -2)
        white = torch.linalg.solve_triangular(self.root, away, upper=False)
        volume = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * x.shape[-1] * math.log(2 * math.pi)
        each = -0.5 * white.square().sum(-2) + (self.log_weights - volume).unsqueeze(-1)
        slopes = -torch.linalg.solve_triangular(self.root.transpose(-1, -2), white, upper=True)
        return each.logsumexp(0), (each.softmax(0).unsqueeze(1) * slopes).sum(0).T


class _Annealing:
    """The particles of one run, and what moves them."""

    def __init__(self, log_density: LogDensity, base: _Base, scale: Tensor, generator: torch.Generator | None) -> None:
        self._log_density, self._base, self._scale, self._generator = log_density, base, scale, generator
        self.gradients, self._step = 0, 0.5

    def run(self, num: int, budget: int, keep: float) -> Particles:
        """Carry ``num`` particles as far as the budget allows."""
        self._place(self._base.draw(num, self._generator))
        power, log_evidence = 0.0, 0.0
        while power < 1 and self.gradients + _MOVES * _LEAPFROGS <= budget:
            ratio = (self.target - self.base).double()
            rise = _rise(ratio, 1 - power, keep)
            weights = rise * ratio
            log_evidence += float(weights.logsumexp(0)) - math.log(num)
            self._pick(_systematic(weights.softmax(0), self._generator))
            power = min(1.0, power + rise) if rise < 1 - power else 1.0
            for _ in range(_MOVES):
                self._move(power)
        for _ in range(_LAST_MOVES if power == 1 else 0):
            self._move(1.0)
        return Particles(self.x, self.target, log_evidence, power == 1, self.gradients)

    def _place(self, x: Tensor) -> None:
        self.x = x
        self.target, self.slope = self._evaluate(x)
        self.base, self.pull = self._base.density(x)

    def _pick(self, index: Tensor) -> None:
        self.x, self.target, self.slope = self.x[index], self.target[index], self.slope[index]
        self.base, self.pull = self.base[index], self.pull[index]

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the density's logarithm, minus infinity where it is no number, and its gradient."""
        self.gradients += 1
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = self._log_density(leaf)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        value = value.detach()
        value = torch.where(value.isfinite(), value, torch.full_like(value, -math.inf))
        return value, slope.nan_to_num(0.0, 0.0, 0.0)

    def _move(self, power: float) -> None:
        """Move all particles by one trajectory that leaves the tempered density as it is."""
        spread = self.x.std(0).clamp_min(1e-4 * self._scale)
        steps = self._step * 10 ** -uniform_like(self.x, (len(self.x), 1), self._generator) * spread
        momentum = normal_like(self.x, tuple(self.x.shape), self._generator)
        x, target, slope, base, pull = self.x, self.target, self.slope, self.base, self.pull
        energy = power * target + (1 - power) * base - 0.5 * (momentum**2).sum(-1)
        momentum = momentum + 0.5 * steps * (power * slope + (1 - power) * pull)
        for index in range(_LEAPFROGS):
            x = x + steps * momentum
            target, slope = self._evaluate(x)
            base, pull = self._base.density(x)
            half = 0.5 if index == _LEAPFROGS - 1 else 1.0
            momentum = momentum + half * steps * (power * slope + (1 - power) * pull)
        change = power * target + (1 - power) * base - 0.5 * (momentum**2).sum(-1) - energy
        change = change.nan_to_num(-math.inf, 0.0, -math.inf)
        taken = uniform_like(self.x, (len(x),), self._generator).log() < change
        self.x = torch.where(taken[:, None], x, self.x)
        self.slope = torch.where(taken[:, None], slope, self.slope)
        self.pull = torch.where(taken[:, None], pull, self.pull)
        self.target, self.base = torch.where(taken, target, self.target), torch.where(taken, base, self.base)
        acceptance = float(change.clamp_max(0.0).exp().mean())
        self._step = min(1.5, self._step * math.exp(acceptance - 0.7))


class Chains:
    """Particles that are moved at a density, each a chain of its own, with common step sizes.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``, differentiable.
        x: where they begin, ``(S, D)``.
        generator: of all noise.
    """

    def __init__(self, log_density: LogDensity, x: Tensor, generator: torch.Generator | None = None) -> None:
        base = _Independent(torch.zeros_like(x[0]), torch.ones_like(x[0]))
        self._annealing = _Annealing(log_density, base, x.std(0), generator)
        self._annealing._place(x)

    def move(self, num: int) -> Tensor:
        """Move all particles ``num`` times, and return their places ``(S, D)``."""
        for _ in range(num):
            self._annealing._move(1.0)
        return self._annealing.x


def _rise(ratio: Tensor, most: float, keep: float) -> float:
    """Return the rise of ``t`` that keeps the effective share ``keep`` of the particles, at most ``most``."""

    def kept(rise: float) -> float:
        weights = (rise * ratio).log_softmax(0)
        return float((-torch.logsumexp(2 * weights, 0)).exp()) / len(ratio)

    if kept(most) >= keep:
        return most
    low, high = 0.0, most
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if kept(middle) >= keep else (low, middle)
    return max(low, 1e-9)


def _systematic(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return indices ``(S,)`` by systematic resampling."""
    num, edges = len(weights), weights.cumsum(0)
    points = (
        torch.arange(num, dtype=weights.dtype, device=weights.device) + uniform_like(weights, (), generator)
    ) / num
    return torch.searchsorted(edges, points * edges[-1]).clamp_max(num - 1)
