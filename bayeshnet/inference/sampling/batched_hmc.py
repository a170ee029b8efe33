"""BatchedHMC: Hamiltonian Monte Carlo of many chains side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...checks import check_callable, check_generator
from ...errors import check_finite, check_floating, check_positive, check_shape, check_size, value_error
from .adaptation import PooledVariance, StepSize, TrajectoryLength, warmup_windows
from .convergence import effective_size, split_r_hat
from .dynamics import LogDensity, Phase, Transition, hmc_transition, phase_at

__all__ = ["BatchedHMC", "Chains"]

_GOLDEN = 0.6180339887498949
"""Steps of this fraction of a circle fill it evenly."""


@dataclass(frozen=True)
class Chains:
    """Draws of ``C`` chains of ``N`` draws each, with what the sampler learned.

    Attributes:
        draws: ``(C, N, P)``.
        acceptance: mean acceptance of each chain after the warm-up, ``(C,)``.
        divergences: number of divergent trajectories of each chain after the warm-up, ``(C,)``.
        scale: scales ``(P,)`` in which positions were measured, the roots of the inverse masses.
        step_size: step size after the warm-up, in units of the scales.
        trajectory: the longest trajectory after the warm-up, in units of the scales.
        gradients: number of gradients of each chain, the warm-up and the search for starts included.
    """

    draws: Tensor
    acceptance: Tensor
    divergences: Tensor
    scale: Tensor
    step_size: float
    trajectory: float
    gradients: int

    @property
    def r_hat(self) -> Tensor:
        """Split R-hat of each unknown, ``(P,)``."""
        return split_r_hat(self.draws)

    @property
    def effective(self) -> Tensor:
        """Effective number of samples of each unknown, ``(P,)``."""
        return effective_size(self.draws)


@dataclass(frozen=True)
class BatchedHMC:
    """Hamiltonian Monte Carlo of many chains side by side, with settings learned from all of them.

    All chains take the same number of leapfrog steps at a time, so that a step is one gradient of a batch: for small
    problems dozens of chains cost little more than one. The step size (dual averaging), the scale of each unknown (its
    variance over all draws of all chains, in growing windows) and the length of trajectories (ChEES) are learned during
    the warm-up and then stay; lengths vary evenly between 0 and the longest one, since a single length may be a period.

    Args:
        target_acceptance: mean acceptance that the step size is set to.
        max_steps: most leapfrog steps of a trajectory.
        trajectory: longest trajectory in units of the scales; None to learn it.
        start_steps: steps of Adam by which each chain first climbs from its start towards a mode. The random starts of
            a network may be thousands of nats below.

    References:
        Hoffman, Radul, Sountsov, "An adaptive-MCMC scheme for setting trajectory lengths in Hamiltonian Monte Carlo",
        2021.
        Izmailov, Vikram, Hoffman, Wilson, "What are Bayesian neural network posteriors really like?", 2021.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> std = torch.tensor([1.0, 10.0])
        >>> start = torch.randn(16, 2, generator=generator)
        >>> sampler = BatchedHMC()
        >>> chains = sampler.sample(lambda q: -0.5 * (q / std).square().sum(-1), start, 100, generator=generator)
        >>> chains.draws.shape, bool((chains.draws.std((0, 1)) / std - 1).abs().max() < 0.1)
        (torch.Size([16, 100, 2]), True)
    """

    target_acceptance: float = 0.8
    max_steps: int = 128
    trajectory: float | None = None
    start_steps: int = 200

    def __post_init__(self) -> None:
        """Refuse settings out of their ranges."""
        target = check_positive("target_acceptance", self.target_acceptance)
        if target >= 1:
            raise value_error("target_acceptance", expected="a number between 0 and 1", got=self.target_acceptance)
        check_size("max_steps", self.max_steps)
        check_size("start_steps", self.start_steps, 0)
        if self.trajectory is not None:
            check_positive("trajectory", self.trajectory)

    def sample(
        self,
        log_density: LogDensity,
        start: Tensor,
        num_samples: int,
        num_warmup: int | None = None,
        *,
        scale: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Chains:
        """Sample a density on all of space.

        Args:
            log_density: function from positions ``(C, P)`` to log-densities ``(C,)`` up to a constant, in nats.
            start: positions ``(C, P)`` at which the chains begin; they should differ more than the draws will.
            num_samples: draws of each chain.
            num_warmup: transitions of each chain to learn from, which are not kept; the number of draws if None.
            scale: first guess of the standard deviation of each unknown, ``(P,)``; ones if None.
            generator: of all randomness.

        Returns:
            The draws, with what was learned.

        Raises:
            ValueError: if the log-density is not finite at the starts, or no step size is small enough.
        """
        check_callable("log_density", log_density, "a function of positions (C, P)")
        start = check_floating("start", check_shape("start", start, (None, None))).detach()
        if not start.numel() or start.device.type == "meta":
            raise value_error("start", expected="known positions of at least one chain and one unknown", got=start)
        check_finite("start", start)
        num_samples = check_size("num_samples", num_samples)
        warmup = num_samples if num_warmup is None else check_size("num_warmup", num_warmup, 0)
        check_generator(generator)
        first = _checked_scale(scale, start)
        _check_values(log_density, start)
        return _Run(self, log_density, start, first, generator).sampled(num_samples, warmup)


class _Run:
    """One run of the sampler: where the chains are, and what has been learned.

    Args:
        settings: of the sampler.
        log_density: of positions.
        start: positions ``(C, P)``.
        scale: first scales ``(P,)``.
        generator: of all randomness.
    """

    def __init__(
        self,
        settings: BatchedHMC,
        log_density: LogDensity,
        start: Tensor,
        scale: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        self.settings, self.log_density, self.generator = settings, log_density, generator
        self.scale, self.first_scale = scale, scale
        self.gradients = settings.start_steps + 1
        self.phase = self._checked(phase_at(log_density, _climbed(log_density, start, scale, settings.start_steps)))
        self.step = StepSize(self._small_enough(0.5), settings.target_acceptance)
        self.length = TrajectoryLength(math.pi if settings.trajectory is None else settings.trajectory)
        self._offset = float(torch.rand((), generator=generator, device=_device(generator, start), dtype=torch.float64))
        self._count = 0

    def sampled(self, num_samples: int, num_warmup: int) -> Chains:
        """Warm up, then draw."""
        self._warm_up(num_warmup)
        chains, size = self.phase.q.shape
        draws = self.phase.q.new_empty(num_samples, chains, size)
        acceptance, divergences = torch.zeros_like(self.phase.log_density), torch.zeros_like(self.phase.log_density)
        for number in range(num_samples):
            step = self._move(self.step.average, self.length.average)
            draws[number] = step.phase.q
            acceptance += step.acceptance / num_samples
            divergences += step.divergent
        return Chains(
            draws.transpose(0, 1).contiguous(),
            acceptance,
            divergences.long(),
            self.scale,
            self.step.average,
            self.length.average,
            self.gradients,
        )

    def _warm_up(self, num_warmup: int) -> None:
        windows = warmup_windows(num_warmup)
        variance = PooledVariance(self.scale)
        for number in range(1, num_warmup + 1):
            before, size, longest = self.phase.q, self.step.value, self.length.value
            step = self._move(size, longest)
            slope = TrajectoryLength.gradient(before, step, self.scale)
            # The only numbers that the host reads: two of them, between two trajectories.
            mean, gradient = torch.stack([step.acceptance.mean(), slope]).tolist()
            self.step.update(mean)
            if self.settings.trajectory is None:
                self.length.update(gradient, longest, self.settings.max_steps * self.step.average)
            if windows and windows[0] < number <= windows[-1]:
                variance.add(self.phase.q)
            if number in windows[1:]:
                self.scale = variance.variance(self.first_scale.square()).sqrt()
                variance = PooledVariance(self.scale)
                self.step.restart(self._small_enough(self.step.average))

    def _move(self, step_size: float, longest: float) -> Transition:
        """Move all chains along a trajectory of a part of the longest length."""
        self._count += 1
        part = (self._offset + self._count * _GOLDEN) % 1.0
        steps = min(max(1, math.ceil(part * longest / step_size)), self.settings.max_steps)
        self.gradients += steps
        step = hmc_transition(self.log_density, self.phase, step_size, steps, self.scale, generator=self.generator)
        self.phase = step.phase
        return step

    def _small_enough(self, step_size: float) -> float:
        """Halve a step size until single steps are accepted by half of the chains or more."""
        for _ in range(60):
            step = hmc_transition(self.log_density, self.phase, step_size, 1, self.scale, generator=self.generator)
            self.gradients += 1
            if float(step.acceptance.mean()) > 0.5:
                return step_size
            step_size /= 2
        expected = "a log-density that is smooth at the starts"
        raise value_error("log_density", expected=expected, found="one that no step is small enough for")

    def _checked(self, phase: Phase) -> Phase:
        """Refuse a log-density that is not finite where chains begin."""
        if not bool(phase.log_density.isfinite().all() & phase.grad.isfinite().all()):
            expected = "a finite log-density with a finite gradient at the starts"
            raise value_error("log_density", expected=expected, found="another")
        return phase


def _checked_scale(scale: Tensor | None, start: Tensor) -> Tensor:
    """Return the argument ``scale`` like a row of the starts, or ones."""
    if scale is None:
        return torch.ones_like(start[0])
    values = check_floating("scale", check_shape("scale", scale, (start.shape[1],))).detach()
    if values.device != start.device:
        raise value_error("scale", expected=f"a tensor on {start.device}", got=scale)
    values = values.to(start)
    if not bool((values.isfinite() & (values > 0)).all()):
        raise value_error("scale", expected="finite values > 0", found="others among its entries")
    return values


def _check_values(log_density: LogDensity, start: Tensor) -> None:
    """Refuse a log-density that is no number for each chain."""
    expected = f"a function of positions {tuple(start.shape)} whose values are a floating tensor ({len(start)},)"
    try:
        value: Any = log_density(start)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        if ": expected " in str(error):  # a message of this library says it better
            raise
        raise value_error("log_density", expected=expected, found=f"{type(error).__name__}: {error}") from error
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != start.shape[:1]:
        raise value_error("log_density", expected=expected, got=value)


def _climbed(log_density: LogDensity, start: Tensor, scale: Tensor, num_steps: int) -> Tensor:
    """Climb from the starts by Adam, each chain on its own; a step is a twentieth of the scales at most."""
    unit = (start / scale).requires_grad_()
    optimizer = torch.optim.Adam([unit], lr=0.05)
    for _ in range(num_steps):
        unit.grad = phase_at(log_density, unit.detach() * scale).grad * -scale
        optimizer.step()
    return unit.detach() * scale


def _device(generator: torch.Generator | None, like: Tensor) -> torch.device:
    return like.device if generator is None else generator.device
