"""Annealed particles: rough draws from all modes of a density, found without a guide."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...rng import normal_like, uniform_like

__all__ = ["Particles", "anneal"]

LogDensity = Callable[[Tensor], Tensor]

_LEAPFROGS, _MOVES, _LAST_MOVES = 6, 2, 4
_BISECTIONS = 40


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
    return _Annealing(log_density, center, scale, generator).run(num, budget, keep)


class _Annealing:
    """The particles of one run, and what moves them."""

    def __init__(
        self, log_density: LogDensity, center: Tensor, scale: Tensor, generator: torch.Generator | None
    ) -> None:
        self._log_density, self._center, self._scale, self._generator = log_density, center, scale, generator
        self.gradients, self._step = 0, 0.5

    def run(self, num: int, budget: int, keep: float) -> Particles:
        """Carry ``num`` particles as far as the budget allows."""
        self._place(self._center + self._scale * normal_like(self._center, (num, len(self._center)), self._generator))
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
        self.base = self._gaussian(x)

    def _pick(self, index: Tensor) -> None:
        self.x, self.target, self.slope = self.x[index], self.target[index], self.slope[index]
        self.base = self.base[index]

    def _gaussian(self, x: Tensor) -> Tensor:
        standard = (x - self._center) / self._scale
        return (-0.5 * standard**2 - self._scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

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

    def _slope(self, x: Tensor, slope: Tensor, power: float) -> Tensor:
        return power * slope - (1 - power) * (x - self._center) / self._scale**2

    def _move(self, power: float) -> None:
        """Move all particles by one trajectory that leaves the tempered density as it is."""
        spread = self.x.std(0).clamp_min(1e-4 * self._scale)
        steps = self._step * 10 ** -uniform_like(self.x, (len(self.x), 1), self._generator) * spread
        momentum = normal_like(self.x, tuple(self.x.shape), self._generator)
        x, target, slope = self.x, self.target, self.slope
        energy = power * target + (1 - power) * self.base - 0.5 * (momentum**2).sum(-1)
        momentum = momentum + 0.5 * steps * self._slope(x, slope, power)
        for index in range(_LEAPFROGS):
            x = x + steps * momentum
            target, slope = self._evaluate(x)
            half = 0.5 if index == _LEAPFROGS - 1 else 1.0
            momentum = momentum + half * steps * self._slope(x, slope, power)
        base = self._gaussian(x)
        change = power * target + (1 - power) * base - 0.5 * (momentum**2).sum(-1) - energy
        change = change.nan_to_num(-math.inf, 0.0, -math.inf)
        taken = uniform_like(self.x, (len(x),), self._generator).log() < change
        self.x = torch.where(taken[:, None], x, self.x)
        self.slope = torch.where(taken[:, None], slope, self.slope)
        self.target, self.base = torch.where(taken, target, self.target), torch.where(taken, base, self.base)
        acceptance = float(change.clamp_max(0.0).exp().mean())
        self._step = min(1.5, self._step * math.exp(acceptance - 0.7))


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
