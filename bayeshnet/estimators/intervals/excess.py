"""Information that an estimator finds and that is not there."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ..auto import Auto
from ..base import KLEstimator
from ..draws import latent_and_noise
from ..latent.control_variate import linear_noise
from ..latent.importance import ImportanceSandwich
from ..latent.livi import LIVI
from ..latent.livi_stochastic import StochasticLIVI
from ..latent.livi_unfolded import UnfoldedLIVI, fold_barrier
from .doubled import in_double
from .information import upper_rest
from .mode_search import Effort
from .precision import lost_precision
from .quasi_random import Mean
from .reduced import reduced

__all__ = ["information_excess"]

_KNOWN = (Auto, LIVI, UnfoldedLIVI, StochasticLIVI, ImportanceSandwich)

_ENTRIES, _FEWEST = 2**20, 8
"""Numbers in all draws together, and entries of all matrices of latents, up to which draws are as many as asked for."""


@torch.no_grad()
def information_excess(
    q: SemiImplicit, estimator: KLEstimator, num_samples: int = 64, generator: torch.Generator | None = None
) -> Mean | None:
    r"""Estimate by how much an estimator's mutual information is above an upper bound of it, in nats.

    The bound is the upper side of :func:`~bayeshnet.estimators.intervals.information.bound_information` by a short
    search, and holds in expectation whatever this finds: where the excess is positive beyond its error, the estimator's
    KL is too low by at least that much. A search that misses latents makes it smaller.

    Args:
        q: posterior of a hypernetwork with independent noise.
        estimator: one that linearizes the map (:class:`LIVI`, :class:`UnfoldedLIVI`, :class:`StochasticLIVI`), or
            :class:`ImportanceSandwich`, or :class:`Auto`, which chooses one of these.
        num_samples: weight vectors; fewer, down to 8, where there are more than 16 latents, or a map that has no linear
            head and more than 16,000 weights.
        generator: of all noise.

    Returns:
        The mean and its standard error; None for other estimators, an affine map, or a map whose precision cannot hold
        its density.
    """
    if not isinstance(estimator, _KNOWN) or q.geometry.is_affine:
        return None
    q = in_double(q)
    if lost_precision(q) is not None:
        return None
    barred = isinstance(estimator, UnfoldedLIVI) and q.latent_size == q.geometry.num_weights
    small = q if barred else reduced(q)
    num_weights, latents = small.geometry.num_weights, small.latent_size
    num = min(num_samples, _ENTRIES // num_weights, _ENTRIES // (64 * latents**2))
    effort = Effort(pool=max(16, min(256, 16 * _ENTRIES // num_weights)), starts=4, kept=8, proposals=64, steps=20)
    draw = small.draw(max(_FEWEST, num), generator)
    latent, _ = latent_and_noise(draw)
    beyond = -fold_barrier(small, latent) if barred else _beyond_livi(small, estimator, draw, generator)
    return Mean.of(beyond - upper_rest(small, draw, effort, generator))


def _beyond_livi(
    q: SemiImplicit, estimator: KLEstimator, draw: WeightDraw, generator: torch.Generator | None
) -> Tensor:
    """Return the information that an estimator finds at draws beyond LIVI's determinants, ``(S,)``."""
    if not isinstance(estimator, ImportanceSandwich):
        return draw.w.new_zeros(len(draw.w))
    sides = estimator.mutual_information(q, draw, generator).diagnostics
    noise, livi = linear_noise(q, draw)
    found: Tensor = 0.5 * (sides["lower_per_draw"] + sides["upper_per_draw"]) - noise - livi
    return found
