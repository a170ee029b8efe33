"""Hamiltonian dynamics of many chains side by side: the leapfrog integrator and one transition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...rng import normal_like, uniform_like

__all__ = ["LogDensity", "Phase", "Transition", "energy", "hmc_transition", "leapfrog", "phase_at"]

LogDensity = Callable[[Tensor], Tensor]
"""A function from positions ``(C, P)`` to log-densities ``(C,)``, up to a constant, in nats."""

DIVERGENT = 1000.0
"""Error of the energy, in nats, from which a trajectory counts as divergent (as in Stan)."""


@dataclass(frozen=True)
class Phase:
    """Positions of ``C`` chains with their log-densities, and momenta.

    Attributes:
        q: positions ``(C, P)``.
        log_density: at the positions, ``(C,)``, in nats.
        grad: gradient of the log-density ``(C, P)``.
        r: momenta ``(C, P)`` in units in which they are standard normal.
    """

    q: Tensor
    log_density: Tensor
    grad: Tensor
    r: Tensor


@dataclass(frozen=True)
class Transition:
    """A transition of ``C`` chains.

    Attributes:
        phase: where the chains are afterwards.
        proposal: end of the trajectories.
        acceptance: probability with which each proposal is accepted, ``(C,)``.
        divergent: which trajectories went astray, ``(C,)``.
    """

    phase: Phase
    proposal: Phase
    acceptance: Tensor
    divergent: Tensor


def phase_at(log_density: LogDensity, q: Tensor, r: Tensor | None = None) -> Phase:
    """Evaluate log-density and gradient at positions ``(C, P)``; momenta are zero if None.

    A log-density that is not a number counts as minus infinity.
    """
    with torch.enable_grad():
        at = q.detach().requires_grad_()
        value = log_density(at)
        (grad,) = torch.autograd.grad(value.sum(), at)
    value = value.detach()
    value = torch.where(value.isnan(), -torch.inf, value)
    return Phase(q.detach(), value, grad, torch.zeros_like(q) if r is None else r)


def energy(phase: Phase) -> Tensor:
    r"""Compute :math:`-\log p(q) + \frac12 r^\top r` of each chain, ``(C,)``, in nats."""
    return 0.5 * phase.r.square().sum(-1) - phase.log_density


def leapfrog(log_density: LogDensity, phase: Phase, step_size: float, num_steps: int, scale: Tensor) -> Phase:
    r"""Follow the dynamics of all chains for ``num_steps`` steps of the leapfrog integrator.

    With momenta in units in which they are standard normal and scales :math:`s` (the roots of the inverse masses) a
    step is

    .. math::
        r \leftarrow r + \tfrac\epsilon2\, s \odot \nabla \log p(q), \quad
        q \leftarrow q + \epsilon\, s \odot r, \quad
        r \leftarrow r + \tfrac\epsilon2\, s \odot \nabla \log p(q).

    It keeps volumes, and running it from the end with the momenta reversed leads back. Nothing is read by the host.

    Args:
        log_density: of positions ``(C, P)``, up to a constant.
        phase: where to begin.
        step_size: the number :math:`\epsilon`.
        num_steps: number of steps.
        scale: the scales ``(P,)``.

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011.
    """
    kick, drift = 0.5 * step_size * scale, step_size * scale
    for _ in range(num_steps):
        r = torch.addcmul(phase.r, kick, phase.grad)
        phase = phase_at(log_density, torch.addcmul(phase.q, drift, r), r)
        phase = Phase(phase.q, phase.log_density, phase.grad, torch.addcmul(r, kick, phase.grad))
    return phase


def hmc_transition(
    log_density: LogDensity,
    phase: Phase,
    step_size: float,
    num_steps: int,
    scale: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Transition:
    """Move all chains by one transition of Hamiltonian Monte Carlo, which leaves the distribution invariant.

    Momenta are drawn anew, the dynamics are followed, and the end is accepted with probability ``min(1, exp(-error))``
    of the error of the energy, each chain on its own. Nothing is read by the host.

    Args:
        log_density: see :func:`leapfrog`.
        phase: where the chains are; its momenta are not used.
        step_size: see :func:`leapfrog`.
        num_steps: see :func:`leapfrog`.
        scale: see :func:`leapfrog`.
        generator: of the randomness.
    """
    begin = Phase(phase.q, phase.log_density, phase.grad, normal_like(phase.q, tuple(phase.q.shape), generator))
    end = leapfrog(log_density, begin, step_size, num_steps, scale)
    gain = energy(begin) - energy(end)
    gain = torch.where(gain.isfinite(), gain, -torch.inf)
    acceptance = gain.clamp_max(0).exp()
    taken = uniform_like(gain, tuple(gain.shape), generator) < acceptance
    across = taken.unsqueeze(-1)
    moved = Phase(
        torch.where(across, end.q, begin.q),
        torch.where(taken, end.log_density, begin.log_density),
        torch.where(across, end.grad, begin.grad),
        begin.r,
    )
    return Transition(moved, end, acceptance, gain < -DIVERGENT)
