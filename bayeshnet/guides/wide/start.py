"""Where a guide of many unknowns begins: coordinates of a Gaussian near the posterior, found before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from ...rng import seeded
from ..checking.joint import JointDensity
from .frame import Frame
from .newton import variational_newton

__all__ = ["find_frame"]

_MOST, _MOST_SINGLY = 1000, 200
"""The most unknowns for which a full covariance is searched: each step takes two gradients for each of them. The second
number is for models that are not written for plates around them, which run once for each gradient."""


def find_frame(
    model: Callable[..., Any], sites: Any, loc: Tensor, scale: float, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Frame | None:
    """Find coordinates in which the posterior of a model is near a standard normal.

    The state of torch's generators is not changed, nor that of Pyro.

    Args:
        model: a Pyro model.
        sites: the way from flat unknowns to the values of the sites, with degrees of centring as they begin.
        loc: where to begin, ``(D,)``.
        scale: standard deviation at first.
        args: arguments of the model.
        kwargs: keyword arguments of the model.

    Returns:
        The map from these coordinates; None for more than a thousand unknowns, for more than two hundred of a model
        that is not written for plates around it, or where its density is not finite.
    """
    if loc.numel() > _MOST:
        return None
    sites.degrees = {name: degree.detach() for name, degree in sites.degrees.items()}
    with torch.no_grad():
        values = sites.by_name(sites.rows(torch.stack([loc, loc + scale]))[0])
        density = JointDensity(model, values, args, kwargs)
        at_once = density.can_be_batched(values)
    if not at_once and loc.numel() > _MOST_SINGLY:
        return None

    def log_density(u: Tensor) -> Tensor:
        with pyro.validation_enabled(False):  # a step may leave the range of numbers, and is refused then
            x, way = sites.rows(u)
            given = sites.by_name(x)
            each = density.batched(given) if at_once else torch.stack([density.single(given, i) for i in range(len(x))])
            found: Tensor = each - way
            return found

    try:
        with seeded(0):
            found = variational_newton(log_density, loc, scale)
    except (RuntimeError, ValueError):  # of the model at values far from any that it was written for
        return None
    return None if found is None else Frame(found.loc, found.root)
