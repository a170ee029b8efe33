"""Finding how the coordinates of a guide bend: Gaussians near a density given a few unknowns, at some values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...geometry.linalg import precise
from ...rng import normal_like
from .bend import TERMS, Bend, BentFrame, terms
from .frame import Frame
from .margins import fitted_margins, plain_margins
from .newton import GaussianStart, LogDensity, variational_newton

__all__ = ["bent_frame"]

_NODES = (1.0, 2.5, -1.0, -2.5)
"""Where the others' Gaussians are found, in standard deviations of a leading unknown."""

_ROUNDS, _JUDGED = 10, 256
"""Most steps for each, and draws that judge all coordinates: those that Newton's method has seen say too much."""


def bent_frame(
    log_density: LogDensity, start: GaussianStart, leading: Sequence[int], generator: torch.Generator | None = None
) -> BentFrame | None:
    r"""Find coordinates in which a density is near a standard normal, from a Gaussian near it.

    Where scales are unknown the covariance of the others depends on them. So Gaussians near the density of the others
    are found, given leading unknowns at their means, and given each of them 1 and 2.5 standard deviations to both
    sides; in between and beyond they are interpolated as by :class:`~bayeshnet.guides.wide.bend.Bend`. A last search in
    these coordinates gives a Gaussian there, and the leading unknowns get margins of their own. What is Gaussian given
    scales, as most hierarchies are, is followed into its funnel, as by the nested approximations of Rue, Martino and
    Chopin.

    Args:
        log_density: function from ``(S, D)`` to ``(S,)``, differentiable.
        start: a Gaussian near it.
        leading: places of the leading unknowns.
        generator: of all noise.

    Returns:
        The coordinates; None where they are no better than those of the Gaussian, by its bound.

    References:
        Rue, Martino, Chopin, "Approximate Bayesian inference for latent Gaussian models by using integrated nested
        Laplace approximations", 2009.

    Example:
        >>> def funnel(x):
        ...     return -0.5 * (x[:, 0].square() + (x[:, 1:] * (-x[:, :1]).exp()).square().sum(-1)) - 4 * x[:, 0]
        >>> found = bent_frame(funnel, GaussianStart(torch.zeros(5), torch.eye(5), -1e6), [0])
        >>> x, _ = found.place(torch.tensor([[-2.0, 1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0, 1.0]]))
        >>> [round(float(a), 1) for a in (x[:, 1:].mean(-1).log() - x[:, 0])]
        [0.0, 0.0]
    """
    k = len(leading)
    order = _order(leading, start.loc)
    back = order.argsort()
    root = precise(start.root)
    root, failed = torch.linalg.cholesky_ex((root @ root.mT)[order][:, order])
    if bool(failed):
        return None
    loc, root = start.loc[order], root.to(start.loc)
    inner = root[k:, k:]

    def given(u: Tensor) -> LogDensity:
        """Return the density of the others in units of ``inner``, given leading unknowns ``u`` ``(k,)``."""
        mean = loc + root[:, :k] @ u

        def density(v: Tensor) -> Tensor:
            x = torch.cat([mean[:k].expand(len(v), k), mean[k:] + v @ inner.mT], -1)
            return log_density(x[:, back])

        return density

    found = _conditionals(given, loc, k, generator)
    if found is None:
        return None
    middle, bend = found
    root[k:, k:], loc[k:] = inner @ middle.root, loc[k:] + inner @ middle.loc
    far = Frame(loc, root)

    def inside(u: Tensor) -> Tensor:
        w, bent = bend.place(u)
        x, straight = far.place(w)
        return log_density(x[:, back]) - (bent + straight).sum(-1)

    last = variational_newton(inside, 0 * loc, 1.0, rounds=_ROUNDS, generator=generator)
    if last is None:
        return None
    near = Frame(last.loc, last.root)
    margins = fitted_margins(lambda u: inside(near.place(u)[0]), k, loc, generator)
    tried: list[Frame | BentFrame] = [Frame(start.loc, start.root)]
    tried += [BentFrame(each, near, bend, far, order) for each in (margins, plain_margins(k, loc))]
    u = normal_like(loc, (_JUDGED, len(loc)), generator)
    best = max(tried, key=lambda each: _bound(log_density, each, u))
    return best if isinstance(best, BentFrame) else None


def _conditionals(
    given: Callable[[Tensor], LogDensity], loc: Tensor, k: int, generator: torch.Generator | None
) -> tuple[GaussianStart, Bend] | None:
    """Return the Gaussian of the others given leading unknowns at zero, and how it moves with them."""
    settings: dict[str, Any] = {"rounds": _ROUNDS, "near": True, "generator": generator}
    units = torch.eye(k, dtype=loc.dtype, device=loc.device)
    middle = variational_newton(given(0 * loc[:k]), 0 * loc[k:], 1.0, **settings)
    if middle is None:
        return None
    sides: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in _NODES]
    for unit in units:
        begin = middle
        for place, node in enumerate(_NODES):
            if place and node * _NODES[place - 1] < 0:  # on another side than the node before
                begin = middle
            found = variational_newton(given(node * unit), begin.loc, begin.root, **settings)
            if found is None:
                return None
            sides[place].append(_seen_from(middle, found))
            begin = found
    each = [side for node in sides for side in node]
    return middle, Bend(*(_coefficients(torch.stack(values)) for values in zip(*each, strict=True)))


@torch.no_grad()
def _bound(log_density: LogDensity, frame: Frame | BentFrame, u: Tensor) -> float:
    """Return the evidence lower bound of normal draws in a frame, without their entropy; minus infinity for none."""
    x, way = frame.place(u)
    found = float((log_density(x) - way.sum(-1)).double().mean())
    return found if math.isfinite(found) else -math.inf


def _order(leading: Sequence[int], like: Tensor) -> Tensor:
    others = sorted(set(range(like.numel())) - set(leading))
    return torch.tensor([*leading, *others], device=like.device)


def _seen_from(middle: GaussianStart, found: GaussianStart) -> tuple[Tensor, Tensor, Tensor]:
    """Return shift, logarithms of scales and shear that take one Gaussian to another, in units of the first."""
    shift = torch.linalg.solve_triangular(middle.root, (found.loc - middle.loc).unsqueeze(-1), upper=False).squeeze(-1)
    root = torch.linalg.solve_triangular(middle.root, found.root, upper=False)
    scale = root.diagonal()
    return shift, scale.log(), (root / scale).tril(-1)


def _coefficients(sides: Tensor) -> Tensor:
    """Return the coefficients ``(4k, ...)`` of functions that are zero in the middle, from values at the nodes."""
    values = torch.stack(sides.chunk(TERMS))
    basis = terms(values.new_tensor(_NODES).unsqueeze(-1))
    found: Tensor = torch.linalg.solve(precise(basis), precise(values.flatten(1)))
    return found.to(values).reshape(sides.shape)
