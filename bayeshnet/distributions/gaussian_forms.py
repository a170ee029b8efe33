"""Recognition of Gaussian distributions in any representation, for analytic treatment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from ..memo import transforms_active
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .priors import FanInGaussian
from .semi_implicit import SemiImplicit

__all__ = ["as_gaussian", "as_low_rank"]


def as_gaussian(p: Any) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviation of ``p`` if it is a Gaussian with independent weights, else None.

    Recognized: :class:`MeanFieldGaussian`, :class:`FanInGaussian`, a torch or Pyro ``Normal(...).to_event(1)``
    (expanded or not) and a constant diagonal ``MultivariateNormal``.

    Returns:
        ``(loc, scale)``, each ``(P,)``, or ``()`` if all weights have the same value.

    Example:
        >>> as_gaussian(Independent(Normal(0.0, 2.0).expand([5]), 1))
        (tensor(0.), tensor(2.))
    """
    if isinstance(p, (MeanFieldGaussian, FanInGaussian)):
        return _one(p.loc), _one(p.scale)
    if isinstance(p, MultivariateNormal):
        return _diagonal(p)
    event_dims, base = 0, p
    while True:
        if isinstance(base, Independent):
            event_dims += base.reinterpreted_batch_ndims
            base = base.base_dist
        elif type(base).__name__ == "ExpandedDistribution":  # of Pyro, which is not imported below the guides
            base = base.base_dist
        else:
            break
    if isinstance(base, Normal) and event_dims == 1 and len(p.event_shape) == 1:
        return _one(base.loc), _one(base.scale)
    return None


def as_low_rank(p: Any) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return mean, variances of the diagonal part and factor of ``p`` if it is a Gaussian of that form, else None.

    Recognized: the distributions of :func:`as_gaussian` (factor None), :class:`LowRankGaussian`, torch's
    ``LowRankMultivariateNormal`` and :class:`SemiImplicit` with an affine hypernetwork.

    Returns:
        ``(loc (P,), diag (P,), factor (P, r) or None)``.
    """
    if isinstance(p, SemiImplicit) and p.geometry.is_affine:
        p = p.to_gaussian()
    if isinstance(p, LowRankGaussian):
        return p.loc, p.diag, p.factor
    if isinstance(p, LowRankMultivariateNormal) and not p.batch_shape:
        return p.loc, p.cov_diag, p.cov_factor
    form = as_gaussian(p)
    if form is None:
        return None
    loc, scale = form
    return loc.expand(p.event_shape), (scale**2).expand(p.event_shape), None


def _one(value: Tensor) -> Tensor:
    """Reduce an expanded tensor to the number that it repeats, judged by its strides and not by its values."""
    while value.ndim and (value.stride(0) == 0 or value.shape[0] == 1):
        value = value[0]
    return value


def _diagonal(p: MultivariateNormal) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviations of a Gaussian whose covariance is and remains diagonal, else None.

    A covariance that is learned may be diagonal at present; its other entries have gradients all the same.
    """
    root = p._unbroadcasted_scale_tril
    if p.batch_shape or root.requires_grad or transforms_active():
        return None
    if int(torch.count_nonzero(root)) != root.shape[-1]:
        return None
    return p.loc, root.diagonal()
