"""A lower bound of the KL to a prior that is a hypernetwork, from directions in which that prior is a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit, total
from .information import bound_information, exact_information
from .quasi_random import Mean, normal_mean
from .reduced import column, rotated, single_head

__all__ = ["complement_kl"]


@torch.no_grad()
def complement_kl(
    q: SemiImplicit,
    p: SemiImplicit,
    target: float,
    level: float,
    generator: torch.Generator | None,
    num_samples: int = 1024,
    *,
    quick: bool = False,
) -> Mean | None:
    r"""Bound ``KL(q || p)`` from below in expectation, whatever any search has found.

    The weights of ``p`` are :math:`W a(z) + b` plus noise of standard deviations :math:`s_p`. Let ``Q`` have
    orthonormal columns that span those of :math:`\mathrm{diag}(s_p)^{-1} W`, and let ``T`` map weights to the part of
    :math:`(w - b) / s_p` that is orthogonal to them. Under ``p`` it is noise, :math:`N(0, I)` of :math:`P - H`
    dimensions. No map can raise a KL, so

    .. math::
        \mathrm{KL}(q \| p) \ge \mathrm{KL}(T q \| N(0, I))
        = \tfrac12 E_z |T h(z)|^2 + \tfrac12 [\mathrm{tr}\,\Sigma - (P - H) - \log\det \Sigma] - I(T w; z)

    with the noise covariance :math:`\Sigma = Q_\perp^\top D^2 Q_\perp` of ``q`` there, :math:`D` the ratios of the
    standard deviations of ``q`` to those of ``p``. It holds

    .. math::
        \mathrm{tr}\,\Sigma = \sum_i d_i^2 - |D Q|^2, \qquad
        \log\det \Sigma = \log\det D^2 + \log\det Q^\top D^{-2} Q .

    The information is bounded from above as by :func:`bound_information`. What a posterior has moved within the span of
    the other's head is not seen.

    Args:
        q: posterior, in double precision.
        p: prior, in double precision.
        target: standard error of both parts to reach.
        level: confidence of the information's half-width.
        generator: of all noise.
        num_samples: largest number of weight vectors.
        quick: as for :func:`bound_information`.

    Returns:
        The mean, which may be negative; None unless both maps end in one head, that of ``p`` with fewer columns than
        there are weights.
    """
    ours, theirs, num = single_head(q.geometry), single_head(p.geometry), q.geometry.num_weights
    if ours is None or theirs is None or theirs.weight.shape[1] >= num:
        return None
    basis = torch.linalg.qr(theirs.weight / column(p.sigma)).Q
    width = p.scale * p.sigma
    offset = (q.unwhiten(ours.bias) - p.unwhiten(theirs.bias)) / width
    matrix = _across(basis, column(q.scale / width) * ours.weight)
    generated = rotated(ours.body, matrix, _across(basis, offset))
    like = q.geometry.zero_latent()
    moved = normal_mean(lambda z: 0.5 * generated(z).square().sum(-1), like, target, generator=generator)
    ratio = q.scale * q.sigma / width
    trace = total(ratio**2, num) - (column(ratio) * basis).square().sum()
    within = torch.linalg.slogdet(basis.mT @ (basis / column(ratio**2)))[1]
    constant = 0.5 * (trace - (num - basis.shape[1]) - within) - total(ratio.log(), num)
    seen = _across(torch.linalg.qr(basis / column(ratio)).Q, ours.weight / column(q.sigma))
    projected = SemiImplicit(rotated(ours.body, seen), 1.0)
    if projected.geometry.is_affine:
        information = exact_information(projected).upper
    else:
        information = bound_information(projected, target, num_samples, level, generator, quick=quick).upper
    return (moved + -information).plus(float(constant))


def _across(basis: Tensor, matrix: Tensor) -> Tensor:
    """Return what is orthogonal to orthonormal columns ``(P, H)``, of vectors or columns of a matrix."""
    return matrix - basis @ (basis.mT @ matrix)
