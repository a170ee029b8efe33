"""The two-sided audit: importance sampling of the latent bounds the mutual information from both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit, total
from ...errors import check_int, check_number
from ...geometry.linalg import identity_plus_cholesky, precise
from .._cross_entropy import analytic_part
from .._split import as_semi_implicit, check_value, latent_and_noise, number_of_samples, prior_of, spread_of
from ..base import KLEstimate, KLEstimator, MutualInformation
from ..latent_posterior import Anchored, Proposal, find_modes, implicit_log_prob, log_weights, make_proposal

__all__ = ["ImportanceSandwich"]


class ImportanceSandwich(KLEstimator):
    r"""KL with a lower and an upper estimate, from latents proposed around the one that explains the weights best.

    For a draw ``w`` made by ``z_0`` and latents :math:`z_k \sim \tau`, a Student t around the mode of
    :math:`p(z | w)` with the Gauss-Newton covariance :math:`(I + J^\top \sigma^{-2} J)^{-1}`,

    .. math:: a_k = \frac{N(z_k; 0, I)\, N(w; h(z_k), \sigma^2)}{\tau(z_k)}, \qquad
        \log \tfrac1K \sum_{k=1}^K a_k \;\lesssim\; \log q(w) \;\lesssim\; \log \tfrac1{K+1} \sum_{k=0}^K a_k .

    The left side *excludes* the generating latent: by Jensen's inequality it is a lower bound of ``log q(w)`` in
    expectation, whatever the proposal, hence ``lower`` bounds the KL from below. The right side *includes* it: an
    upper bound in expectation if the proposal depends on ``w`` alone. Here the search for the mode starts at ``z_0``,
    so it is one as far as the mode does not depend on where the search began. Both concern expectations over draws.

    Args:
        num_draws: weight vectors ``S``.
        num_proposals: latents ``K`` per weight vector.
        num_starts: searches for modes per weight vector, from ``z_0``, its mirror image, and random latents. More
            than one finds folds, where several latents make the same weights.
        inflation: factor on the proposal's standard deviations.
        dof: degrees of freedom of the proposal.
        steps: Gauss-Newton steps per search.
        control_variate: subtract from both sides noise of mean zero that is known exactly. It changes no expectation,
            and makes value and gradient of a nearly linear hypernetwork nearly free of noise.

    References:
        Sobolev, Vetrov, "Importance weighted hierarchical variational inference", 2019.
        Molchanov, Kharitonov, Sobolev, Vetrov, "Doubly semi-implicit variational inference", 2019.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> audit = ImportanceSandwich(num_draws=16).estimate(q, FanInGaussian(q.weight_spec))
        >>> bool(audit.lower <= audit.value) and bool(audit.value <= audit.upper)
        True
    """

    def __init__(
        self,
        num_draws: int = 64,
        num_proposals: int = 32,
        *,
        num_starts: int = 1,
        inflation: float = 1.2,
        dof: int = 8,
        steps: int = 10,
        control_variate: bool = True,
    ) -> None:
        self.num_draws = check_int("num_draws", num_draws, 1)
        self.num_proposals = check_int("num_proposals", num_proposals, 2)
        self.num_starts = check_int("num_starts", num_starts, 1)
        self.inflation = check_number("inflation", inflation, 1.0)
        self.dof = check_int("dof", dof, 1)
        self.steps = check_int("steps", steps, 1)
        self.control_variate = bool(control_variate)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` weight vectors (``num_draws`` if None).

        Returns:
            A :class:`KLEstimate` whose ``value`` is the middle of ``lower`` and ``upper``. Diagnostics: ``analytic``
            and its ``analytic_standard_error`` (which grows with ``P``), ``mutual_information`` and its
            ``standard_error``, ``ess`` (effective share of the proposals, smallest and mean), ``information``.
        """
        posterior = as_semi_implicit(q, "ImportanceSandwich")
        prior = prior_of(posterior, p)
        draw = posterior.draw(number_of_samples(num_samples, self.num_draws), generator)
        rest, constant = analytic_part(posterior, prior, *latent_and_noise(draw), generator)
        analytic = constant + rest.mean()
        info, sides = self._information(posterior, draw, generator)
        surrogate = analytic - info.value
        value = check_value(surrogate.detach(), "ImportanceSandwich")
        lower, upper = ((analytic - side).detach() for side in sides)
        diagnostics = {
            "analytic": analytic.detach(),
            "analytic_standard_error": spread_of(rest),
            "mutual_information": info.value.detach(),
            "standard_error": info.standard_error,
            "constant": constant.detach(),
            **{key: info.diagnostics[key] for key in ("ess", "ess_min")},
            "information": info,
        }
        return KLEstimate(value, surrogate, lower, upper, diagnostics)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        """The mutual information between weights and latent on given draws, from both sides.

        Returns:
            ``lower`` includes the generating latent, ``upper`` excludes it. Diagnostics: ``lower_per_draw`` and
            ``upper_per_draw`` ``(S,)`` without control variate (so that ``log N(w; h(z), sigma^2)`` minus them bounds
            ``log q(w)``), ``livi`` (the determinants at the same latents), ``ess`` and ``ess_min``.
        """
        posterior = as_semi_implicit(q, "ImportanceSandwich")
        return self._information(posterior, draw, generator)[0]

    @torch.no_grad()
    def log_density_bounds(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Lower and upper estimates of ``log q(w)`` for each draw, ``(S,)`` each."""
        posterior = as_semi_implicit(q, "ImportanceSandwich")
        result = self._run(posterior, draw, generator)
        given = _log_conditional(posterior, draw)
        return given - result.exclude, given - result.include

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        """Middle of the two estimates of ``log q(w)`` per draw, ``(S,)``, with the gradient of :meth:`estimate`."""
        posterior = as_semi_implicit(q, "ImportanceSandwich")
        result = self._run(posterior, draw, None)
        noise, _ = _known_noise(posterior, draw)
        middle = 0.5 * (result.include + result.exclude)
        if self.control_variate:
            middle = middle - (noise - noise.detach())
        return (_log_conditional(posterior, draw) - middle).to(draw.w)

    def log_prob(self, q: Distribution | nn.Module, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Log-density ``(S,)`` at any weights ``(S, P)``, whoever made them; from below in expectation.

        The modes are sought from ``max(num_starts, 8)`` latents; a mode far from all of them is missed, and the value
        then too low.
        """
        posterior = as_semi_implicit(q, "ImportanceSandwich")
        return implicit_log_prob(posterior, w, self.num_proposals, max(self.num_starts, 8), generator)

    def _information(
        self, q: SemiImplicit, draw: WeightDraw, generator: torch.Generator | None
    ) -> tuple[MutualInformation, tuple[Tensor, Tensor]]:
        """The record, and its upper and lower side."""
        result = self._run(q, draw, generator)
        noise, livi = _known_noise(q, draw)
        shift = noise if self.control_variate else torch.zeros_like(noise)
        low, high = result.include - shift, result.exclude - shift
        middle = 0.5 * (low + high)
        kind, _ = latent_and_noise(draw)
        diagnostics = {
            "lower_per_draw": result.include.detach(),
            "upper_per_draw": result.exclude.detach(),
            "livi": livi.detach(),
            "ess": result.ess.mean(),
            "ess_min": result.ess.min(),
        }
        lower, upper = low.detach().mean().to(kind), high.detach().mean().to(kind)
        error = spread_of(middle)
        return MutualInformation(middle.mean().to(kind), middle, error, lower, upper, diagnostics), (upper, lower)

    def _run(self, q: SemiImplicit, draw: WeightDraw, generator: torch.Generator | None) -> _Sides:
        z0, eps = latent_and_noise(draw)
        anchored = Anchored(q.geometry, q.sigma**-2, z0, eps / q.sigma)
        with torch.no_grad():
            starts = z0.unsqueeze(1)
            if self.num_starts > 1:
                more = q.geometry.draw_latent(z0.shape[0] * (self.num_starts - 2), generator)
                starts = torch.cat([starts, -starts, more.unflatten(0, (z0.shape[0], self.num_starts - 2))], dim=1)
            proposal = make_proposal(find_modes(anchored, starts, self.steps), self.inflation, self.dof)
            z = proposal.draw(self.num_proposals, generator)
        return _sides(anchored, proposal, z)


@dataclass(frozen=True)
class _Sides:
    """Mutual information per draw without and with the generating latent, and the effective share of proposals."""

    exclude: Tensor
    include: Tensor
    ess: Tensor


def _sides(anchored: Anchored, proposal: Proposal, z: Tensor) -> _Sides:
    weights = log_weights(anchored, proposal, z)
    origin = precise(anchored.latent).unsqueeze(1)
    own = -0.5 * origin.square().sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi) - proposal.log_prob(origin)
    num = z.shape[1]
    total_weight = torch.logsumexp(weights, dim=1)
    exclude = math.log(num) - total_weight
    include = math.log(num + 1) - torch.logaddexp(total_weight, own.squeeze(1))
    ess = (2 * total_weight - torch.logsumexp(2 * weights, dim=1)).exp().detach() / num
    return _Sides(exclude, include, ess)


def _known_noise(q: SemiImplicit, draw: WeightDraw) -> tuple[Tensor, Tensor]:
    r"""Noise per draw of known mean zero, with a gradient of mean zero, and the determinants of LIVI without gradient.

    The linearized information per draw is :math:`\tfrac12 [\log\det P + |z|^2 - (b - z)^\top P^{-1} (b - z)]` with
    :math:`P = I + G` and :math:`b = J^\top \varepsilon / \sigma`, which given ``z`` has covariance ``G``. So

    .. math:: \tfrac12 [n - \mathrm{tr} P^{-1} + z^\top P^{-1} z - (b - z)^\top P^{-1} (b - z)]
        + \tfrac12 [z^\top C z - \mathrm{tr}\, C]

    has mean zero, the first part over :math:`\varepsilon`, the second over ``z`` for any matrix ``C`` that does not
    depend on it: the mean of :math:`I - P^{-1}` over the other draws. For a linear hypernetwork it is all the noise
    there is.
    """
    z0, eps = latent_and_noise(draw)
    root = identity_plus_cholesky(q.geometry.gram(z0, q.sigma**-2))
    num, n = z0.shape
    z = z0.to(root)
    pulled = q.geometry.vjp(z0, eps / q.sigma).to(root) - z
    eye = torch.eye(n, dtype=root.dtype, device=root.device).expand_as(root)
    columns = torch.cat([torch.stack([pulled, z], dim=-1), eye], dim=-1)
    solved = torch.linalg.solve_triangular(root, columns, upper=False)
    squares = solved.square().sum(-2)
    noise = n - squares[..., 2:].sum(-1) + squares[..., 1] - squares[..., 0]
    inverse = (solved[..., 2:].mT @ solved[..., 2:]).detach()
    others = eye - (inverse.sum(0) - inverse) / max(1, num - 1) if num > 1 else torch.zeros_like(inverse)
    spread = ((others @ z.unsqueeze(-1)).squeeze(-1) * z).sum(-1) - others.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 0.5 * (noise + spread), root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _log_conditional(q: SemiImplicit, draw: WeightDraw) -> Tensor:
    """Log-density of the weights given their own latent, ``(S,)``."""
    num = q.geometry.num_weights
    constant = total(q.sigma.log(), num) + q.log_volume + 0.5 * num * math.log(2 * math.pi)
    return -0.5 * precise(latent_and_noise(draw)[1]).square().sum(-1) - constant
