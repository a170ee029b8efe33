"""Adaptation of a sampler while it warms up: step size, scales, and the length of trajectories."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .dynamics import Transition

__all__ = ["PooledVariance", "StepSize", "TrajectoryLength", "warmup_windows"]


class StepSize:
    r"""Dual averaging of the logarithm of a step size, until the mean acceptance is what it should be.

    .. math::
        \log \epsilon_{m+1} = \mu - \frac{\sqrt m}{\gamma (m + t_0)} \sum_{i \le m} (\delta - \alpha_i), \qquad
        \log \bar\epsilon_{m+1} = m^{-\kappa} \log \epsilon_{m+1} + (1 - m^{-\kappa}) \log \bar\epsilon_m

    with :math:`\mu = \log (10\, \epsilon_0)`, :math:`\gamma = 0.05`, :math:`t_0 = 10`, :math:`\kappa = 0.75`.

    Args:
        initial: the first step size :math:`\epsilon_0`.
        target: the mean acceptance :math:`\delta`.

    References:
        Hoffman, Gelman, "The no-U-turn sampler", 2014, algorithm 5.
    """

    def __init__(self, initial: float, target: float) -> None:
        self.target = target
        self.restart(initial)

    def restart(self, initial: float) -> None:
        """Forget what was learned and begin at ``initial``."""
        self.value, self.average = initial, initial
        self._center, self._sum, self._count = math.log(10 * initial), 0.0, 0

    def update(self, acceptance: float) -> None:
        """Learn from the mean acceptance of a transition; one that is not a number counts as 0."""
        self._count += 1
        m = self._count
        self._sum += self.target - (acceptance if math.isfinite(acceptance) else 0.0)
        log_value = self._center - math.sqrt(m) / 0.05 * self._sum / (m + 10)
        weight = m**-0.75
        self.average = math.exp(weight * log_value + (1 - weight) * math.log(self.average))
        self.value = math.exp(log_value)


class PooledVariance:
    """Variance of each unknown over all draws of all chains, accumulated without cancellation errors.

    Args:
        like: a tensor ``(P,)`` of the wanted dtype and device.

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self._mean, self._squares = torch.zeros_like(like), torch.zeros_like(like)

    def add(self, q: Tensor) -> None:
        """Add positions ``(C, P)``."""
        mean = q.mean(0)
        shift, total = mean - self._mean, self.count + len(q)
        self._squares += (q - mean).square().sum(0) + shift.square() * (self.count * len(q) / total)
        self._mean += shift * (len(q) / total)
        self.count = total

    def variance(self, prior: Tensor) -> Tensor:
        """Return the variances ``(P,)``, drawn to a thousandth of ``prior`` as by five draws (as in Stan)."""
        found = self._squares / max(self.count - 1, 1)
        return (self.count * found + 5e-3 * prior) / (self.count + 5)


class TrajectoryLength:
    r"""The length of trajectories that changes squared distances from the mean most (ChEES), found by Adam.

    With chains at :math:`q` before and :math:`q'` after, momenta :math:`r'` and the mean over chains, in units of the
    scales, the gradient for a trajectory of length :math:`t = u T` is the mean over chains of
    :math:`t\, \alpha\, (|q' - \bar q'|^2 - |q - \bar q|^2)\, (q' - \bar q')^\top r'`, weighted by acceptance.

    Args:
        initial: the first length :math:`T`.
        rate: learning rate of the logarithm.

    References:
        Hoffman, Radul, Sountsov, "An adaptive-MCMC scheme for setting trajectory lengths in Hamiltonian Monte Carlo",
        2021.
    """

    def __init__(self, initial: float, rate: float = 0.025) -> None:
        self.value, self.rate = initial, rate
        self._second, self._count, self._logs = 0.0, 0, math.log(initial)
        self.average = initial

    @staticmethod
    def gradient(before: Tensor, step: Transition, scale: Tensor) -> Tensor:
        """Compute the gradient by the logarithm of the length, but for the factor of the length: ``()``."""
        start, end, momenta = before / scale, step.proposal.q / scale, step.proposal.r
        weights = step.acceptance
        # Proposals that went to infinity have weight 0; NaN times 0 must not remain.
        valid = (weights > 0).unsqueeze(-1)
        end, momenta = torch.where(valid, end, start), torch.where(valid, momenta, 0.0)
        total = weights.sum().clamp_min(1e-10)
        from_mean, to_mean = start - start.mean(0), end - (weights.unsqueeze(-1) * end).sum(0) / total
        change = to_mean.square().sum(-1) - from_mean.square().sum(-1)
        return (weights * change * (to_mean * momenta).sum(-1)).sum() / total

    def update(self, gradient: float, length: float, longest: float) -> None:
        """Learn from the gradient of trajectories of ``length``; stay between a hundredth of ``longest`` and it."""
        slope = gradient * length
        if not math.isfinite(slope):
            return
        self._count += 1
        self._second = 0.95 * self._second + 0.05 * slope * slope
        root = math.sqrt(self._second / (1 - 0.95**self._count)) + 1e-20
        log_value = math.log(self.value) + self.rate * max(-3.0, min(3.0, slope / root))
        self.value = math.exp(min(max(log_value, math.log(longest / 100)), math.log(longest)))
        weight = self._count**-0.5
        self._logs = weight * math.log(self.value) + (1 - weight) * self._logs
        self.average = math.exp(self._logs)


def warmup_windows(num_warmup: int) -> list[int]:
    """Return the steps of a warm-up after which scales are set anew; before the first no draws are collected.

    Example:
        >>> warmup_windows(200), warmup_windows(10)
        ([30, 60, 110, 180], [])
    """
    if num_warmup < 20:
        return []
    return [int(num_warmup * part) for part in (0.15, 0.3, 0.55, 0.9)]
