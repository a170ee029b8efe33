"""A lower bound of the KL to a prior that is a hypernetwork, from directions in which that prior is a Gaussian."""

from __future__ import annotations

import torch

from ...distributions.semi_implicit import SemiImplicit
from .information import bound_information, exact_information
from .quasi_random import Mean, normal_mean
from .span import Split

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
    split = Split.of(q, p)
    if split is None:
        return None
    moved = normal_mean(split.half_square(), q.geometry.zero_latent(), target, generator=generator)
    across = split.posterior_across()
    if across.geometry.is_affine:
        information = exact_information(across).upper
    else:
        information = bound_information(across, target, num_samples, level, generator, quick=quick).upper
    return (moved + -information).plus(0.5 * float(split.trace - split.dimensions - split.log_det))
