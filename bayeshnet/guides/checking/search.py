"""A search for what a guide has missed: annealed particles from the prior, which know nothing of the guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from .annealing import Particles, anneal, anneal_again
from .joint import JointDensity
from .starts import clusters

__all__ = ["search"]

_PRIOR_DRAWS, _NORMAL, _CLUSTERS = 100, 1.4826, 16


@torch.no_grad()
def search(
    model: Callable[..., Any],
    sites: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    num: int,
    *,
    budget: int = 600,
    keep: float = 0.6,
    again: int = 0,
    most: int | None = None,
) -> Particles | None:
    """Carry particles to the posterior of a model, in its unconstrained unknowns.

    They begin at independent Gaussians with the medians and the spread of draws from the prior.

    Args:
        model: a Pyro model.
        sites: the way from unconstrained unknowns to the values of the sites, without degrees of centring.
        args: arguments of the model.
        kwargs: keyword arguments of the model.
        num: number of particles.
        budget: most evaluations of the gradient, of all particles at once.
        keep: effective share of the particles at each temperature. All noise is of torch's global generator.
        again: how often the particles are carried once more, from the Gaussians of sixteen clusters of them, after
            which modes have their shares nearer. What does not arrive in the budget is left out.
        most: unknowns of the largest model that is searched; None for no limit.

    Returns:
        The particles; None if the model is not written for plates around it or too large, if a prior is improper, or if
        the budget was too small.
    """
    if most is not None and sum(site["value"].numel() for site in sites.nodes.values()) > most:
        return None
    try:
        draws = torch.stack([_prior_draw(model, sites, args, kwargs) for _ in range(_PRIOR_DRAWS)])
    except NotImplementedError:  # an improper prior has no draws
        return None
    draws = draws[draws.isfinite().all(-1)]
    if not len(draws):
        return None
    center = draws.median(0).values
    spread = _NORMAL * (draws - center).abs().median(0).values
    scale = torch.where(spread > 0, spread, torch.ones_like(spread))
    density = JointDensity(model, sites.by_name(draws), args, kwargs)
    if not density.can_be_batched(sites.by_name(draws)):
        return None

    def log_density(x: Tensor) -> Tensor:
        with pyro.validation_enabled(False):  # a trajectory may leave the range of numbers, and is refused then
            found: Tensor = density.batched(sites.by_name(x)) - sites.rows(x)[1]
            return found

    try:
        found = anneal(log_density, center, scale, num, budget, keep=keep)
        for _ in range(again if _arrived(found) else 0):
            nearer = anneal_again(log_density, clusters(found.x, _CLUSTERS), num, budget, keep=keep)
            found = nearer if _arrived(nearer) else found
    except (RuntimeError, ValueError):  # of the model at values far from any that it was written for
        return None
    return found if _arrived(found) else None


def _arrived(found: Particles) -> bool:
    """Return whether the particles are where the density is."""
    return found.arrived and bool(found.log_density.isfinite().all())


def _prior_draw(model: Any, sites: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """Return unconstrained unknowns ``(D,)`` of one run of a model."""
    with poutine.block():
        trace: Any = poutine.trace(model).get_trace(*args, **kwargs)
    found: Tensor = sites.of_trace(trace)
    return found
