r"""The analytic part :math:`E_z \mathrm{KL}(N(h(z), \sigma^2) \| p)` of the KL of a hypernetwork posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from ..distributions.base import has_log_prob
from ..distributions.dirac import Dirac
from ..distributions.gaussian_forms import as_gaussian, as_low_rank
from ..distributions.priors import FanInGaussian
from ..distributions.semi_implicit import SemiImplicit, SharedNoise, total
from ..errors import type_error, value_error
from ..geometry.linalg import identity_plus_cholesky, precise
from ..rng import normal_like
from .base import KLEstimate
from .latent_posterior import implicit_log_prob
from .lazy_diagnostics import LazyDiagnostics
from .noise import noise_entropy

__all__ = ["AnalyticPart", "ConditionalKL", "analytic_part", "conditional_kl", "kl_of_parts", "log_prob_of"]


@dataclass(frozen=True)
class ConditionalKL:
    r"""The KL of the weights given their latent, :math:`\mathrm{KL}(N(h(z), \sigma^2) \| p)`, for a Gaussian prior.

    Attributes:
        make_constant: computes :attr:`constant`, which not all estimators need.
        at: maps latents ``(M, n)`` to the KL minus the constant, ``(M,)``.
        mean_at: maps the generated weights ``h(z)`` ``(M, P)`` to the mean of :attr:`at`, for callers that have
            computed them; or None.
    """

    make_constant: Callable[[], Tensor]
    at: Callable[[Tensor], Tensor]
    mean_at: Callable[[Tensor], Tensor] | None = None

    @property
    def constant(self) -> Tensor:
        r"""The part without the latent, mostly :math:`\sum_i \log(s_i / \sigma_i)` with the prior's ``s``."""
        return self.make_constant()


def conditional_kl(q: SemiImplicit, p: Distribution) -> ConditionalKL | None:
    """Return the KL of the weights given their latent to a Gaussian ``p``, else None."""
    num, geometry = q.geometry.num_weights, q.geometry
    if isinstance(p, FanInGaussian) and p.whitened_by(q.whitening):
        return ConditionalKL(
            lambda: _noise_terms(q.sigma**2, num),
            lambda z: 0.5 * geometry.sqdist(z),
            _half_mean_square,
        )
    form = as_gaussian(p)
    if form is None:
        return _full_conditional(q, p) if isinstance(p, MultivariateNormal) else _low_rank_conditional(q, p)
    loc, scale = (t.to(q.scale) for t in form)
    if q.whitening is not None:
        loc, scale = (loc - q.loc) / q.scale, scale / q.scale
    precision = scale**-2
    center = loc.expand(num)
    return ConditionalKL(
        lambda: _noise_terms(q.sigma**2 * precision, num),
        lambda z: 0.5 * geometry.sqdist(z, center, precision),
        lambda h: _half_mean_square((h - center) / scale),
    )


def _half_mean_square(x: Tensor) -> Tensor:
    """Return half the mean squared norm ``()`` of rows ``(M, P)``, by products: a power's gradient takes longer."""
    return 0.5 * (x * x).sum(-1).mean()


def _noise_terms(ratio: Tensor, num: int) -> Tensor:
    """Return half the sum of ``ratio - 1 - log(ratio)`` over the ratios of noise variance to prior variance."""
    return 0.5 * total(ratio - 1 - ratio.log(), num)


def _low_rank_conditional(q: SemiImplicit, p: Distribution) -> ConditionalKL | None:
    """Return the same for a prior with low-rank plus diagonal covariance, by Woodbury's identity."""
    form = as_low_rank(p)
    if form is None or form[2] is None:
        return None
    num, geometry = q.geometry.num_weights, q.geometry
    loc = (form[0].to(q.scale) - q.loc) / q.scale
    diag = form[1].to(q.scale) / q.scale**2
    factor = form[2].to(q.scale) / (q.scale.unsqueeze(-1) if q.scale.ndim else q.scale)
    scaled = factor / diag.unsqueeze(-1)
    root = identity_plus_cholesky(factor.T @ scaled)
    variance = (q.sigma**2).expand(num)
    projected = precise(scaled.T @ (variance.unsqueeze(-1) * scaled))
    trace = torch.cholesky_solve(projected, root).diagonal().sum().to(loc)
    log_det = root.diagonal().log().sum().to(loc)
    offset = scaled.T @ loc

    def at(z: Tensor) -> Tensor:
        along = precise(geometry.inner(z.unsqueeze(-2), scaled.T.to(z)) - offset)
        solved = torch.linalg.solve_triangular(root, along.unsqueeze(-1), upper=False).squeeze(-1)
        found: Tensor = 0.5 * (geometry.sqdist(z, loc, 1 / diag) - (solved**2).sum(-1).to(z))
        return found

    return ConditionalKL(lambda: _noise_terms(variance / diag, num) - 0.5 * trace + log_det, at)


def _full_conditional(q: SemiImplicit, p: MultivariateNormal) -> ConditionalKL | None:
    """Return the same for a prior with a full covariance, by its inverse root."""
    if p.batch_shape:
        return None
    num, geometry, root = q.geometry.num_weights, q.geometry, p.scale_tril.to(q.scale)
    inverse = torch.linalg.solve_triangular(root, torch.eye(num).to(root), upper=False) * q.scale.expand(num)
    offset = torch.linalg.solve_triangular(root, (p.loc.to(root) - q.loc).unsqueeze(-1), upper=False).squeeze(-1)
    trace = (inverse.square() * (q.sigma**2)).sum()
    log_det = root.diagonal().log().sum() - total(q.sigma.log(), num) - q.log_volume

    def mean_at(h: Tensor) -> Tensor:
        return _half_mean_square(h.to(inverse) @ inverse.T - offset)

    def at(z: Tensor) -> Tensor:
        found: Tensor = 0.5 * (geometry(z).to(inverse) @ inverse.T - offset).square().sum(-1)
        return found

    return ConditionalKL(lambda: 0.5 * (trace - num) + log_det, at, mean_at)


def log_prob_of(p: Distribution, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the log-density ``(S,)`` of a prior at weights ``(S, P)``; estimated for a hypernetwork posterior."""
    if isinstance(p, (Dirac, SharedNoise)):
        raise value_error(
            "p",
            expected="a prior with a density at any weights",
            found=type(p).__name__,
            hint="Take an explicit distribution, or a hypernetwork posterior with independent noise.",
        )
    if isinstance(p, SemiImplicit) and not p.geometry.is_affine:
        return implicit_log_prob(p, w, generator=generator)
    if not has_log_prob(p):
        advice = "Write its method log_prob(w), from weights (*B, P) to (*B,) nats."
        raise type_error("p", expected="a prior with log_prob", found=type(p).__name__, hint=advice)
    return p.log_prob(w)


@dataclass(frozen=True)
class AnalyticPart:
    """The analytic part at ``M`` latents: ``mean = constant + terms.mean()``.

    Attributes:
        terms: the part that depends on the latent ``(M,)``.
        constant: the rest ``()``.
    """

    terms: Tensor
    constant: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """The mean over latents, ``()``."""
        return self.constant + self.terms.mean()


def analytic_part(
    q: SemiImplicit, p: Distribution, z: Tensor, eps: Tensor | None = None, generator: torch.Generator | None = None
) -> AnalyticPart:
    r"""Compute :math:`E_z \mathrm{KL}(N(h(z), \sigma^2) \| p)` over latents ``z`` ``(M, n)``.

    For a Gaussian prior the noise is integrated out. For another prior one draw per latent is used instead, with noise
    ``eps`` ``(M, P)`` if given.
    """
    gaussian = conditional_kl(q, p)
    if gaussian is not None:
        return AnalyticPart(gaussian.at(z), gaussian.constant)
    if eps is None:
        eps = normal_like(z, (z.shape[0], q.geometry.num_weights), generator)
    return AnalyticPart(-log_prob_of(p, q.place(z, eps).w, generator), -noise_entropy(q))


def kl_of_parts(
    analytic: AnalyticPart,
    information: Tensor,
    bounds: tuple[Tensor | None, Tensor | None] = (None, None),
    diagnostics: Mapping[str, Any] | None = None,
    later: Mapping[str, Callable[[], Any]] | None = None,
) -> KLEstimate:
    r"""Assemble :math:`\mathrm{KL} = analytic - I(w; z)`.

    Args:
        analytic: the analytic part.
        information: the mutual information ``()``.
        bounds: lower and upper estimate of the mutual information.
        diagnostics: further results by name.
        later: functions that compute further results at first access.
    """
    surrogate = analytic.mean - information
    upper, lower = (None if bound is None else (analytic.mean - bound).detach() for bound in bounds)
    known = {
        "analytic": analytic.mean.detach(),
        "mutual_information": information.detach(),
        "constant": analytic.constant.detach(),
        **(diagnostics or {}),
    }
    return KLEstimate(surrogate.detach(), surrogate, lower, upper, LazyDiagnostics(known, later or {}))
