"""Where a guide of many unknowns begins: coordinates of a Gaussian near the posterior, found before training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from ...rng import seeded
from ..checking.joint import JointDensity
from .bend import BentFrame
from .bending import bent_frame
from .frame import Frame
from .newton import LogDensity, variational_newton

__all__ = ["find_frame"]

_log = logging.getLogger(__name__)
_MOST, _MOST_SINGLY = 1000, 200
"""The most unknowns for which a full covariance is searched: each step takes two gradients for each of them. The second
number is for models that are not written for plates around them, which run once for each gradient."""

_BENT, _SEARCHED = 32, (4000, 10)
"""The most unknowns with which coordinates bend, and most unknowns of all searches: in all, and for each unknown."""

_OF_MODELS = (RuntimeError, ValueError, TypeError, IndexError, ArithmeticError, AssertionError)
"""Errors of models at values far from any that they were written for."""


def find_frame(
    model: Callable[..., Any], sites: Any, loc: Tensor, scale: float, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Frame | BentFrame | None:
    """Find coordinates in which the posterior of a model is near a standard normal.

    They bend with unknowns whose support is bounded, such as scales, where a model is written for plates around it: the
    first of them, at most 32 of 62 unknowns, 10 of 100, 2 of 1000. The state of torch's generators is not changed, nor
    that of Pyro.

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
    try:
        with _quietly():
            log_density, at_once = _density_of(model, sites, torch.stack([loc, loc + scale]), args, kwargs)
            found = None if log_density is None else variational_newton(log_density, loc, scale)
    except _OF_MODELS as error:
        _log.info("the guide begins at its starting values: in the search for better ones the model raised %r", error)
        return None
    if log_density is None or found is None:
        return None
    leading = _bounded(sites, loc)[: _most_leading(loc.numel())] if at_once else []
    frame = Frame(found.loc, found.root)
    if not 0 < len(leading) < loc.numel():
        return frame
    try:
        with _quietly():
            return bent_frame(log_density, found, leading) or frame
    except _OF_MODELS as error:
        _log.info(
            "the guide begins at a Gaussian that does not bend: in the search for more the model raised %r", error
        )
        return frame


def _most_leading(size: int) -> int:
    """Return with how many unknowns coordinates may bend: each takes four searches in all the others."""
    most = max(_SEARCHED[0], _SEARCHED[1] * size)
    return max(k for k in range(min(_BENT, size - 1) + 1) if k == 0 or (4 * k + 1) * (size - k) <= most)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep statements, random numbers and validation to the search.

    A step may leave the range of numbers, and is refused then; a model may draw, such as subsamples.
    """
    with poutine.block(), seeded(0), pyro.validation_enabled(False):
        yield


def _bounded(sites: Any, loc: Tensor) -> list[int]:
    """Return the places of unknowns at sites with a support of intervals or half-lines, entry by entry."""
    found = []
    for site, part in sites.unpack(torch.arange(loc.numel())):
        support = site["fn"].support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if support.event_dim == 0 and support is not constraints.real:
            found += part.flatten().tolist()
    return found


def _density_of(
    model: Callable[..., Any], sites: Any, tried: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[LogDensity | None, bool]:
    """Return the log-density of flat unknowns and whether one run gives all rows; None if too many need a run each."""
    with torch.no_grad():
        values = sites.by_name(sites.rows(tried)[0])
        density = JointDensity(model, values, args, kwargs)
        at_once = density.can_be_batched(values)
    if not at_once and tried.shape[1] > _MOST_SINGLY:
        return None, False

    def log_density(u: Tensor) -> Tensor:
        x, way = sites.rows(u)
        given = sites.by_name(x)
        each = density.batched(given) if at_once else torch.stack([density.single(given, i) for i in range(len(x))])
        found: Tensor = each - way
        return found

    return log_density, at_once
