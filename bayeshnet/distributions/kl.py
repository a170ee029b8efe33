"""Closed forms of the KL, registered with ``torch.distributions.kl_divergence``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, LowRankMultivariateNormal, MultivariateNormal, register_kl

from ..geometry.linalg import identity_plus_cholesky, precise
from .gaussian import LowRankGaussian, MeanFieldGaussian, diagonal_kl
from .gaussian_forms import as_gaussian, as_low_rank
from .priors import FanInGaussian
from .radial import Radial
from .semi_implicit import SemiImplicit

__all__ = ["GaussianForm", "any_gaussian_kl", "full_gaussian_kl", "gaussian_kl", "gaussian_pair_kl", "radial_kl"]

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
    prior_loc, root = p.loc.to(loc), p.scale_tril.to(loc)
    shift = torch.linalg.solve_triangular(root, (loc - prior_loc).unsqueeze(-1), upper=False)
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


def _from_full_kl(q: MultivariateNormal, p: GaussianForm) -> Tensor:
    """Compute the KL of a Gaussian with a full covariance to one of low rank plus diagonal, by Woodbury's identity."""
    root, diag = q.scale_tril, p[1].to(q.loc)
    shift = q.loc - p[0].to(q.loc)
    trace = (root.square() / diag.unsqueeze(-1)).sum() + (shift.square() / diag).sum()
    kl = 0.5 * (trace - len(shift) + diag.log().sum()) - root.diagonal().log().sum()
    if p[2] is not None:
        factor = p[2].to(q.loc)
        scaled = factor / diag.unsqueeze(-1)
        inner = identity_plus_cholesky(factor.T @ scaled)
        columns = precise(scaled.T @ torch.cat([root, shift.unsqueeze(-1)], dim=-1))
        solved = torch.linalg.solve_triangular(inner, columns, upper=False)
        kl = kl - 0.5 * solved.square().sum().to(kl) + inner.diagonal().log().sum().to(kl)
    return kl


def _full_pair_kl(q: MultivariateNormal, p: MultivariateNormal) -> Tensor:
    """Compute the KL between two Gaussians with full covariances."""
    root, prior_root = q.scale_tril, p.scale_tril.to(q.loc)
    columns = torch.cat([root, (q.loc - p.loc.to(q.loc)).unsqueeze(-1)], dim=-1)
    trace = torch.linalg.solve_triangular(prior_root, columns, upper=False).square().sum()
    log_det = (prior_root.diagonal().log() - root.diagonal().log()).sum()
    found: Tensor = 0.5 * (trace - len(root)) + log_det
    return found


def any_gaussian_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Compute the KL between two Gaussians, of which one or both may have a full covariance; return None for others.

    Example:
        >>> ones = torch.ones(3)
        >>> any_gaussian_kl(MultivariateNormal(ones, torch.eye(3)), MeanFieldGaussian(0 * ones, ones))
        tensor(1.5000)
    """
    kl = gaussian_pair_kl(q, p)
    if kl is not None or q.batch_shape or p.batch_shape:
        return kl
    posterior, prior = as_low_rank(q), as_low_rank(p)
    if isinstance(p, MultivariateNormal):
        if posterior is not None:
            return full_gaussian_kl(posterior, p)
        if isinstance(q, MultivariateNormal):
            return _full_pair_kl(q, p)
    return _from_full_kl(q, prior) if isinstance(q, MultivariateNormal) and prior is not None else None


def radial_kl(q: Radial, p: Distribution) -> Tensor | None:
    """Compute the KL of a radial distribution to any Gaussian; return None for other priors.

    Weights of a radial distribution are uncorrelated, so that its cross entropy with a Gaussian is that of a Gaussian
    with independent weights of the same means and variances.
    """
    same = MeanFieldGaussian(q.loc, q.variance.sqrt(), validate_args=False)
    kl = any_gaussian_kl(same, p)
    return None if kl is None else kl + same.entropy() - q.entropy()


def _kl(q: Distribution, p: Distribution) -> Tensor:
    kl = any_gaussian_kl(q, p)
    if kl is not None:
        return kl
    raise ValueError(
        f"q, p: expected a pair with a closed form, got {type(q).__name__} and {type(p).__name__}. "
        "Use an estimator of bayeshnet.estimators: MonteCarlo where q has a density, LIVI for a hypernetwork posterior."
    )


def _radial_kl(q: Radial, p: Distribution) -> Tensor:
    kl = radial_kl(q, p)
    if kl is not None:
        return kl
    raise ValueError(f"p: expected a Gaussian, got {type(p).__name__}. Use MonteCarlo for other priors.")


_OWN = (MeanFieldGaussian, LowRankGaussian, FanInGaussian)
for _kind in (*_OWN, SemiImplicit):
    register_kl(_kind, Distribution)(_kl)
for _kind in _OWN:
    register_kl(MultivariateNormal, _kind)(_kl)
    register_kl(LowRankMultivariateNormal, _kind)(_kl)
register_kl(Radial, Distribution)(_radial_kl)
