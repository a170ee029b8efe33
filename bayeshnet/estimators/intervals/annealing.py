"""Annealed importance sampling of the latent, forward from a proposal and backward from an exact draw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...rng import normal_like, uniform_like

__all__ = ["AnnealedWeights", "anneal"]

LogDensity = Callable[[Tensor], Tensor]

_STEPS = (1.2, 0.5, 0.2)
"""Step sizes of the moves, used in turn, for one latent; they shrink with the sixth root of the number of latents."""


@dataclass(frozen=True)
class AnnealedWeights:
    """Log-weights of annealed chains.

    Attributes:
        forward: of chains that begin at the proposal ``(S, K)``; their mean weight is right in expectation.
        backward: of a chain that begins at the given latent ``(S,)``; the inverse weight is right in expectation.
    """

    forward: Tensor
    backward: Tensor


def anneal(
    log_target: LogDensity,
    log_proposal: LogDensity,
    starts: Tensor,
    exact: Tensor,
    *,
    root: Tensor,
    num_levels: int,
    generator: torch.Generator | None = None,
) -> AnnealedWeights:
    r"""Move latents between a proposal :math:`\tau` and a target along :math:`\tau^{1 - \beta} \pi^\beta`.

    Each level makes one Langevin move with a Metropolis test, in the coordinates of ``root``.

    Args:
        log_target: unnormalized log-density of latents ``(S, K, n)``: ``(S, K)``.
        log_proposal: normalized log-density of the same.
        starts: draws from the proposal ``(S, K, n)``.
        exact: a draw from the target for each row ``(S, n)``.
        root: Cholesky factors of precisions ``(S, n, n)`` by whose inverse moves are scaled.
        num_levels: number of levels.
        generator: of the moves.

    References:
        Neal, "Annealed importance sampling", 2001.
        Grosse, Ghahramani, Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo", 2015.
    """
    steps = [step * exact.shape[-1] ** (-1 / 6) for step in _STEPS]
    betas = [0.5 * (1 - math.cos(math.pi * t / num_levels)) for t in range(num_levels + 1)]
    path = _Path(log_target, log_proposal, root, generator)

    def run(z: Tensor, levels: range, backward: bool) -> Tensor:
        state = path.at(z)
        total = torch.zeros_like(state.target)
        for t in levels:
            if backward and t < num_levels:
                state = path.move(state, betas[t], steps[t % len(steps)])
            total = total + (betas[t] - betas[t - 1]) * (state.target - state.proposal)
            if not backward and t < num_levels:
                state = path.move(state, betas[t], steps[t % len(steps)])
        return total

    forward = run(starts, range(1, num_levels + 1), backward=False)
    return AnnealedWeights(forward, run(exact.unsqueeze(1), range(num_levels, 0, -1), backward=True).squeeze(1))


@dataclass(frozen=True)
class _State:
    """Latents ``(S, K, n)`` with both log-densities ``(S, K)`` and their gradients ``(S, K, n)``."""

    z: Tensor
    target: Tensor
    proposal: Tensor
    slope: Tensor
    proposal_slope: Tensor

    def level(self, beta: float) -> tuple[Tensor, Tensor]:
        """Return log-density and gradient at a level."""
        value = beta * self.target + (1 - beta) * self.proposal
        return value, beta * self.slope + (1 - beta) * self.proposal_slope

    def taken(self, trial: _State, accept: Tensor) -> _State:
        """Return the trial where it is accepted."""
        wide = accept.unsqueeze(-1)
        return _State(
            torch.where(wide, trial.z, self.z),
            torch.where(accept, trial.target, self.target),
            torch.where(accept, trial.proposal, self.proposal),
            torch.where(wide, trial.slope, self.slope),
            torch.where(wide, trial.proposal_slope, self.proposal_slope),
        )


@dataclass(frozen=True)
class _Path:
    """The densities between proposal and target, and moves that leave one of them as it is."""

    log_target: LogDensity
    log_proposal: LogDensity
    root: Tensor
    generator: torch.Generator | None

    def at(self, z: Tensor) -> _State:
        """Evaluate both log-densities and their gradients."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            target, proposal = self.log_target(z), self.log_proposal(z)
            (slope,) = torch.autograd.grad(target.sum(), z)
            (proposal_slope,) = torch.autograd.grad(proposal.sum(), z)
        return _State(z.detach(), target.detach(), proposal.detach(), slope, proposal_slope)

    def move(self, state: _State, beta: float, step: float) -> _State:
        """Make one Langevin move with a Metropolis test at a level."""
        value, slope = state.level(beta)
        noise = normal_like(state.z, tuple(state.z.shape), self.generator)
        drift = self._scaled(slope)
        trial = self.at(state.z + self._back(0.5 * step**2 * drift + step * noise))
        trial_value, trial_slope = trial.level(beta)
        back = noise + 0.5 * step * (drift + self._scaled(trial_slope))
        log_accept = trial_value - value + 0.5 * (noise.square().sum(-1) - back.square().sum(-1))
        uniform = uniform_like(value, tuple(value.shape), self.generator)
        return state.taken(trial, uniform.log() < torch.nan_to_num(log_accept, nan=-torch.inf))

    def _scaled(self, slope: Tensor) -> Tensor:
        """Return gradients in whitened coordinates, :math:`L^{-1} g`."""
        found: Tensor = torch.linalg.solve_triangular(self.root, slope.mT, upper=False).mT
        return found

    def _back(self, step: Tensor) -> Tensor:
        """Return steps in the latent's own coordinates, :math:`L^{-T} s`."""
        found: Tensor = torch.linalg.solve_triangular(self.root.mT, step.mT, upper=True).mT
        return found
