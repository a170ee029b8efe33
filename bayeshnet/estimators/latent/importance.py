"""The two-sided audit: importance sampling of the latent bounds the mutual information from both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...errors import check_flags, check_int, check_number
from ...geometry.base import Geometry
from ...geometry.information import information_root, needs_double_products, refuse_lost
from ...geometry.linalg import precise
from ...geometry.products import double_products
from ..accepted import semi_implicit
from ..analytic import analytic_part, kl_of_parts
from ..base import DensityEstimator, KLEstimate, MutualInformation
from ..draws import latent_and_noise, standard_error
from ..latent_posterior import Anchored, Proposal, find_modes, implicit_log_prob, log_weights, make_proposal
from ..noise import log_normal, log_normalizer
from .control_variate import linear_noise

__all__ = ["ImportanceSandwich"]


class ImportanceSandwich(DensityEstimator):
    r"""KL with a lower and an upper estimate, by importance sampling around the most probable latent of each draw.

    For a draw ``w`` generated from ``z_0`` and latents :math:`z_k \sim \tau`, a Student t around the mode of
    :math:`p(z | w)` with the Gauss-Newton covariance :math:`(I + J^\top \sigma^{-2} J)^{-1}`,

    .. math:: a_k = \frac{N(z_k; 0, I)\, N(w; h(z_k), \sigma^2)}{\tau(z_k)}, \qquad
        \log \tfrac1K \sum_{k=1}^K a_k \;\lesssim\; \log q(w) \;\lesssim\; \log \tfrac1{K+1} \sum_{k=0}^K a_k .

    The left side *excludes* the generating latent: by Jensen's inequality it is a lower bound of ``log q(w)`` in
    expectation for any proposal, hence ``lower`` bounds the KL from below. The right side *includes* it: an upper bound
    in expectation if the proposal depends on ``w`` alone. Here the search for the mode starts at ``z_0``, so it is an
    upper bound to the extent that the mode does not depend on the start. Both bounds hold for the mean over draws.

    Args:
        num_samples: weight vectors ``S`` per estimate.
        num_proposals: latents ``K`` per weight vector.
        num_starts: searches for modes per weight vector, from ``z_0``, its mirror image, and random latents. More
            than one finds folds, where several latents give the same weights.
        inflation: factor on the proposal's standard deviations.
        dof: degrees of freedom of the proposal.
        steps: Gauss-Newton steps per search.
        control_variate: subtract from both sides noise of mean zero that is known exactly. It changes no expectation,
            and for a nearly linear hypernetwork removes nearly all variance of value and gradient.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``analytic`` and its ``analytic_standard_error`` (which grows with ``P``); ``mutual_information``;
        ``standard_error``, that of the value; ``constant``; ``ess`` and ``ess_min``, the effective share of the
        proposals in the mean and at least; ``information``, the :class:`MutualInformation` with its own standard
        error. ``value`` is the middle of ``lower`` and ``upper``.

    References:
        Sobolev, Vetrov, "Importance weighted hierarchical variational inference", 2019.
        Molchanov, Kharitonov, Sobolev, Vetrov, "Doubly semi-implicit variational inference", 2019.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> audit = ImportanceSandwich(num_samples=16).estimate(q, FanInGaussian(q.weight_spec))
        >>> bool(audit.lower <= audit.value) and bool(audit.value <= audit.upper)
        True
    """

    accepts = semi_implicit

    def __init__(
        self,
        num_samples: int = 64,
        num_proposals: int = 32,
        *,
        num_starts: int = 1,
        inflation: float = 1.2,
        dof: int = 8,
        steps: int = 10,
        control_variate: bool = True,
        num_draws: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.num_proposals = check_int("num_proposals", num_proposals, 2)
        self.num_starts = check_int("num_starts", num_starts, 1)
        self.inflation = check_number("inflation", inflation, 1.0)
        self.dof = check_int("dof", dof, 1)
        self.steps = check_int("steps", steps, 1)
        check_flags(control_variate=control_variate)
        self.control_variate = bool(control_variate)

    @property
    def density_per_draw(self) -> bool:
        """True without the control variate, whose mean is zero over draws only."""
        return not self.control_variate

    def _estimate(
        self, q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        draw = q.draw(num_samples, generator)
        analytic = analytic_part(q, p, *latent_and_noise(draw), generator)
        info = self.mutual_information(q, draw, generator)
        diagnostics = {
            "analytic_standard_error": standard_error(analytic.terms),
            "standard_error": standard_error(analytic.terms - info.per_draw),
            **{key: info.diagnostics[key] for key in ("ess", "ess_min")},
            "information": info,
        }
        return kl_of_parts(analytic, info.value, (info.lower, info.upper), diagnostics)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        """Estimate the mutual information between weights and latent on given draws, from both sides.

        Returns:
            A record whose ``lower`` includes the generating latent and whose ``upper`` excludes it. Diagnostics:
            ``lower_per_draw`` and ``upper_per_draw`` ``(S,)`` without control variate (so that
            ``log N(w; h(z), sigma^2)`` minus them bounds ``log q(w)``), ``livi`` (the determinants at the same
            latents), ``ess`` and ``ess_min``.
        """
        posterior = self._accept(q)
        sides = self._sides(posterior, draw, generator)
        noise, livi = linear_noise(posterior, draw)
        shift = noise if self.control_variate else torch.zeros_like(noise)
        low, high = sides.include - shift, sides.exclude - shift
        middle = 0.5 * (low + high)
        like, _ = latent_and_noise(draw)
        diagnostics = {
            "lower_per_draw": sides.include.detach(),
            "upper_per_draw": sides.exclude.detach(),
            "livi": livi.detach(),
            "ess": sides.ess.mean(),
            "ess_min": sides.ess.min(),
        }
        lower, upper = low.detach().mean().to(like), high.detach().mean().to(like)
        return MutualInformation(middle.mean().to(like), middle, standard_error(middle), lower, upper, diagnostics)

    @torch.no_grad()
    def log_density_bounds(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return lower and upper estimates of ``log q(w)`` for each draw, ``(S,)`` each."""
        posterior = self._accept(q)
        sides = self._sides(posterior, draw, generator)
        given = _log_conditional(posterior, draw)
        return given - sides.exclude, given - sides.include

    def _log_density(self, q: SemiImplicit, draw: WeightDraw) -> Tensor:
        """Return the middle of the two estimates of ``log q(w)``, ``(S,)``, with the gradient of :meth:`estimate`."""
        sides = self._sides(q, draw, None)
        noise, _ = linear_noise(q, draw)
        middle = 0.5 * (sides.include + sides.exclude)
        if self.control_variate:
            middle = middle - (noise - noise.detach())
        return (_log_conditional(q, draw) - middle).to(draw.w)

    def log_prob(self, q: Distribution | nn.Module, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Estimate the log-density ``(S,)`` at any weights ``(S, P)``: a lower bound in expectation.

        The search for modes starts at ``max(num_starts, 8)`` latents. It may miss a mode that is far from all of them;
        the value is then too low.
        """
        return implicit_log_prob(self._accept(q), w, self.num_proposals, max(self.num_starts, 8), generator)

    def _sides(self, q: SemiImplicit, draw: WeightDraw, generator: torch.Generator | None) -> _Sides:
        """Sample latents around the modes of each draw and evaluate both sides."""
        anchored = Anchored.of(q, draw)
        z0 = anchored.latent
        with torch.no_grad():
            root = information_root(q.geometry, z0, q.sigma**-2)
        refuse_lost(root, z0.dtype, _MOST_LOST)
        with double_products(needs_double_products(root, z0.dtype)):
            return self._sides_of(q.geometry, anchored, generator)

    def _sides_of(self, geometry: Geometry, anchored: Anchored, generator: torch.Generator | None) -> _Sides:
        z0 = anchored.latent
        with torch.no_grad():
            starts = z0.unsqueeze(1)
            if self.num_starts > 1:
                more = geometry.draw_latent(z0.shape[0] * (self.num_starts - 2), generator)
                starts = torch.cat([starts, -starts, more.unflatten(0, (z0.shape[0], self.num_starts - 2))], dim=1)
            proposal = make_proposal(find_modes(anchored, starts, self.steps), self.inflation, self.dof)
            z = proposal.draw(self.num_proposals, generator)
        return _evaluate_sides(anchored, proposal, z)


_MOST_LOST = 1e5
"""Share of the least eigenvalue that single products may lose; double ones of the same factors still hold it then."""


@dataclass(frozen=True)
class _Sides:
    """Mutual information per draw without and with the generating latent, and the effective share of proposals."""

    exclude: Tensor
    include: Tensor
    ess: Tensor


def _evaluate_sides(anchored: Anchored, proposal: Proposal, z: Tensor) -> _Sides:
    weights = log_weights(anchored, proposal, z)
    origin = precise(anchored.latent).unsqueeze(1)
    own = log_normal(origin) - proposal.log_prob(origin)
    num = z.shape[1]
    total = torch.logsumexp(weights, dim=1)
    exclude = math.log(num) - total
    both = torch.stack([total, own.squeeze(1)])  # of which logsumexp, unlike logaddexp, has second derivatives
    include = math.log(num + 1) - torch.logsumexp(both, dim=0)
    ess = (2 * total - torch.logsumexp(2 * weights, dim=1)).exp().detach() / num
    return _Sides(exclude, include, ess)


def _log_conditional(q: SemiImplicit, draw: WeightDraw) -> Tensor:
    """Return the log-density of the weights given their own latent, ``(S,)``."""
    _, eps = latent_and_noise(draw)
    return -0.5 * precise(eps).square().sum(-1) - log_normalizer(q)
