"""Verdict on what a search has found outside of a guide: a mode apart, or a part to which draws of the guide lead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from .annealing import Chains, LogDensity
from .joint import JointDensity, log_joint

__all__ = ["MISSED", "Outside", "Searched", "carried_on", "find_outside", "missed_share"]

MISSED = 0.05
"""The share of a posterior below which nothing is said to be missed."""

_BLOCKS, _JUDGED, _BEYOND = (8, 16, 24), 200, 2.0
"""Moves after each of which shares are compared, particles that are judged, and nats that a guide may lack."""


class Outside(NamedTuple):
    """The share of a posterior where a guide lacks density, and whether it is in modes of its own."""

    share: float
    apart: bool = False


class Searched(NamedTuple):
    """A posterior that has been searched, and what a guide says of it.

    Attributes:
        model: a Pyro model.
        args: arguments of the model.
        kwargs: keyword arguments of the model.
        sites: the way from the guide's unknowns to the values of the sites.
        plain: the way from unconstrained unknowns.
        density: the guide's log-densities ``(S,)`` at unconstrained unknowns ``(S, D)``.
    """

    model: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    sites: Any
    plain: Any
    density: Callable[[Tensor], Tensor]

    def ratios(self, x: Tensor) -> Tensor:
        r"""Return :math:`\log p - \log q` ``(S,)`` at unconstrained unknowns."""
        return log_joint(self.model, self.plain.by_name(x), self.args, self.kwargs) - self.density(x)


@torch.no_grad()
def find_outside(given: Searched, particles: Tensor, own: Any, drawn: Tensor) -> Outside | None:
    """Judge where a guide lacks density; what it lacks is looked at once more, see :func:`carried_on`.

    Args:
        given: posterior and guide.
        particles: of a search, ``(S, D)``.
        own: draws of the guide by site, with both sides of their densities.
        drawn: more draws of the guide, ``(T, D)``.
    """
    some = particles[torch.randperm(len(particles), device=particles.device)[:_JUDGED]]
    known = log_joint(given.model, own.values, given.args, given.kwargs) - own.lower
    again = given.ratios(given.plain.flat(own.values))

    def lacking(x: Tensor) -> float:
        return missed_share(given.ratios(x), again, known)

    share = lacking(some)
    if share <= MISSED:
        return Outside(share)

    def log_density(u: Tensor) -> Tensor:
        with pyro.validation_enabled(False):  # a trajectory may leave the range of numbers, and is refused then
            x, log_volume = way.rows(u, at_once=True)
            found: Tensor = density.batched(given.plain.by_name(x)) - log_volume
            return found

    try:
        # The guide's own coordinates are those in which the posterior is most like a normal.
        way = given.sites if given.sites.can_be_batched(given.sites.rows(drawn, undo=True)[0]) else given.plain
        density = JointDensity(given.model, given.plain.by_name(drawn), given.args, given.kwargs)
        begun, own_begun = (way.rows(x, undo=True)[0] for x in (some, drawn))
        return carried_on(log_density, begun, own_begun, lambda u: lacking(way.rows(u)[0]))
    except (RuntimeError, ValueError):  # of the model at values far from any that it was written for
        return None


def missed_share(particles: Tensor, again: Tensor, ratios: Tensor) -> float:
    r"""Return the share of particles at which a guide lacks density, less that of the guide's own draws.

    A particle counts if its :math:`\log p - \log q` is more than two nats above the largest of the guide's own draws.

    Args:
        particles: :math:`\log p - \log q` of the particles, with densities as at any place.
        again: the same of some of the guide's own draws, which counts how often such densities fail.
        ratios: the same of the guide's own draws, with densities from their own latents.
    """
    top = ratios[ratios.isfinite()].max() + _BEYOND
    share = (particles > top).double().mean() - (again > top).double().mean()
    return max(0.0, float(share))


@torch.no_grad()
def carried_on(
    log_density: LogDensity,
    particles: Tensor,
    own: Tensor,
    lacking: Callable[[Tensor], float],
    generator: torch.Generator | None = None,
) -> Outside | None:
    """Move particles of a search and draws of a guide at the posterior, until they agree on what the guide lacks.

    Particles of a search may not have come to the posterior, and a guide that is too narrow lacks density around it. In
    both cases the same moves lead from the particles and from the guide's own draws to the same places. A mode of its
    own keeps its particles, and the guide's draws do not come there.

    Args:
        log_density: of the posterior in coordinates in which particles move, from ``(S, D)`` to ``(S,)``.
        particles: of the search, ``(S, D)``.
        own: draws of the guide, ``(S, D)``.
        lacking: function from places to the share of them at which the guide lacks density.
        generator: of all noise.

    Returns:
        What the guide lacks; None if the particles were still on their way at the end.

    Example:
        >>> noise = torch.Generator().manual_seed(0)
        >>> normal = lambda x: -0.5 * x.square().sum(-1)
        >>> near = torch.randn(200, 1, generator=noise)
        >>> carried_on(normal, 9 + near, near, lambda x: float((x > 5).float().mean()), noise)
        Outside(share=0.0, apart=False)
    """
    chains = Chains(log_density, particles, generator), Chains(log_density, own, generator)
    before, share, error = 1.0, 1.0, 0.0
    for moves in _BLOCKS:
        before = share
        share, reached = (lacking(chain.move(moves)) for chain in chains)
        error = math.sqrt(share * (1 - share) / len(particles) + reached * (1 - reached) / len(own))
        if share - reached <= max(MISSED, 2 * error):
            return Outside(share)
    return None if share < before - 2 * error else Outside(share, apart=True)
