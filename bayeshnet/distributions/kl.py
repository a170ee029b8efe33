"""Closed forms of the KL, registered with ``torch.distributions.kl_divergence``."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, register_kl

from ..geometry.linalg import identity_plus_cholesky, precise
from .gaussian import LowRankGaussian, MeanFieldGaussian, diagonal_kl
from .gaussian_forms import as_gaussian, as_low_rank
from .priors import FanInGaussian
from .radial import Radial
from .semi_implicit import SemiImplicit

__all__ = ["GaussianForm", "full_gaussian_kl", "gaussian_kl", "gaussian_pair_kl", "radial_gaussian_kl"]

GaussianForm = tuple[Tensor, Tensor, Tensor | None]
"""Mean ``(P,)``, variances of the diagonal part ``(P,)`` and factor ``(P, r)`` or None."""


def gaussian_kl(q: GaussianForm, p: GaussianForm) -> Tensor:
    r"""Compute the KL between Gaussians of low rank plus diagonal, in :math:`O(P (r_q + r_p)^2)`.

    With :math:`\Sigma = D + F F^\top` and :math:`S = E + V V^\top`,
    :math:`\tfrac12 [\mathrm{tr}(S^{-1} \Sigma) + (\mu - m)^\top S^{-1} (\mu - m) - P + \log\det S - \log\det \Sigma]`
    by Woodbury's identity for both covariances.

    Example:
        >>> one = torch.ones(3)
        >>> gaussian_kl((one, one, None), (0 * one, one, None))
        tensor(1.5000)
    """
    loc, diag, factor = q
    other_loc, other_diag = p[0].to(loc), p[1].to(loc)
    other_factor = None if p[2] is None else p[2].to(loc)
    ratio, shift = diag / other_diag, loc - other_loc
    kl = 0.5 * (ratio - 1 - ratio.log() + shift**2 / other_diag).sum()
    if factor is not None:
        root = identity_plus_cholesky(factor.T @ (factor / diag.unsqueeze(-1)))
        trace = (factor**2 / other_diag.unsqueeze(-1)).sum()
        kl = kl + 0.5 * trace - root.diagonal().log().sum().to(kl)
    if other_factor is not None:
        scaled = other_factor / other_diag.unsqueeze(-1)
        root = identity_plus_cholesky(other_factor.T @ scaled)
        columns = [scaled.T * diag.sqrt(), (scaled.T @ shift).unsqueeze(-1)]
        if factor is not None:
            columns.append(scaled.T @ factor)
        solved = torch.linalg.solve_triangular(root, precise(torch.cat(columns, dim=-1)), upper=False)
        kl = kl - 0.5 * solved.square().sum().to(kl) + root.diagonal().log().sum().to(kl)
    return kl


def gaussian_pair_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Compute the KL between two Gaussians of low rank plus diagonal or simpler; return None for others.

    Example:
        >>> ones = torch.ones(3)
        >>> gaussian_pair_kl(MeanFieldGaussian(ones, ones), MeanFieldGaussian(0 * ones, ones))
        tensor(1.5000)
    """
    if q.batch_shape or p.batch_shape:
        return None
    independent, other = as_gaussian(q), as_gaussian(p)
    if independent is not None and other is not None:
        loc, scale = (t.expand(q.event_shape) for t in independent)
        return diagonal_kl(loc, scale, *(t.to(loc) for t in other))
    posterior, prior = as_low_rank(q), as_low_rank(p)
    return None if posterior is None or prior is None else gaussian_kl(posterior, prior)


def full_gaussian_kl(q: GaussianForm, p: MultivariateNormal) -> Tensor:
    """Compute the KL of a Gaussian of low rank plus diagonal to one with a full covariance."""
    loc, diag, factor = q
    root = p.scale_tril
    shift = torch.linalg.solve_triangular(root, (loc - p.loc).unsqueeze(-1), upper=False)
    inverse = torch.linalg.solve_triangular(root, torch.eye(root.shape[-1]).to(root), upper=False)
    trace = (inverse.square() * diag).sum()
    log_det = diag.log().sum()
    if factor is not None:
        trace = trace + torch.linalg.solve_triangular(root, factor, upper=False).square().sum()
        inner = identity_plus_cholesky(factor.T @ (factor / diag.unsqueeze(-1)))
        log_det = log_det + 2 * inner.diagonal().log().sum().to(log_det)
    prior_log_det = 2 * root.diagonal().log().sum()
    found: Tensor = 0.5 * (trace + shift.square().sum() - loc.shape[0] + prior_log_det - log_det)
    return found


def radial_gaussian_kl(q: Radial, loc: Tensor, variance: Tensor) -> Tensor:
    """Compute the KL of a radial distribution to Gaussians of means ``loc`` and ``variance``, each ``(P,)``."""
    second = (q.loc - loc) ** 2 + q.variance
    cross = 0.5 * (second / variance + variance.log() + math.log(2 * math.pi)).sum()
    return cross - q.entropy()


def _kl(q: Distribution, p: Distribution) -> Tensor:
    kl = gaussian_pair_kl(q, p)
    if kl is not None:
        return kl
    posterior = as_low_rank(q)
    if posterior is not None and isinstance(p, MultivariateNormal):
        return full_gaussian_kl(posterior, p)
    raise ValueError(
        f"q, p: expected a pair with a closed form, got {type(q).__name__} and {type(p).__name__}. "
        "Use an estimator of bayeshnet.estimators: MonteCarlo where q has a density, LIVI for a hypernetwork posterior."
    )


def _radial_kl(q: Radial, p: Distribution) -> Tensor:
    prior = as_low_rank(p)
    if prior is None or prior[2] is not None:
        raise ValueError(
            f"p: expected a Gaussian with independent weights, got {type(p).__name__}. Use MonteCarlo for other priors."
        )
    return radial_gaussian_kl(q, prior[0], prior[1])


for _kind in (MeanFieldGaussian, LowRankGaussian, FanInGaussian, SemiImplicit):
    register_kl(_kind, Distribution)(_kl)
register_kl(Radial, Distribution)(_radial_kl)
