"""LIVI: the KL of a hypernetwork posterior through the log-determinant of a small Gram matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit, total
from ...errors import check_int, value_error
from ...geometry.linalg import half_log_det, identity_plus_cholesky, precise
from ...rng import normal_like, uniform_like
from .._cross_entropy import analytic_part
from .._split import as_semi_implicit, check_value, latent_and_noise, number_of_samples, prior_of, spread_of
from ..base import KLEstimate, KLEstimator, MutualInformation
from ..lazy_diagnostics import Findings

__all__ = ["LIVI", "even_latents"]


class LIVI(KLEstimator):
    r"""Linearized implicit variational inference: exact for a linear hypernetwork, close for others.

    .. math::
        \mathrm{KL}(q \| p) = E_z\, \mathrm{KL}(N(h(z), \sigma^2) \| p) - I(w; z), \qquad
        I(w; z) \approx \tfrac12 E_z \log\det(I_n + J^\top \sigma^{-2} J).

    The first term is analytic for Gaussian priors. The second is the linearization's only task, in ``n`` dimensions
    and never in ``P``: through a linear head no weight vector is built at all.

    The estimate is not a bound. It is too low by up to ``log k`` where ``k`` latents far apart make the same weights
    (a fold); :class:`ImportanceSandwich` finds out. Its gradient is heavy-tailed where the Jacobian is nearly
    rank-deficient: take more latents there.

    Args:
        num_latents: latents ``M`` per estimate; 8 to 32 are usual.
        orthogonal: draw latents in orthogonal blocks, each still standard normal. It takes most of the noise from the
            analytic term and its gradient, and nothing from the expectation; the standard error reported is then too
            large.
        antithetic: draw latents in pairs ``(z, -z)``, which removes the noise of the analytic term that is odd in
            ``z``; ``M`` is then even.

    References:
        Uppal, Stensbo-Smidt, Boomsma, Frellsen, "Implicit variational inference for high-dimensional posteriors", 2023.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> estimate = LIVI(num_latents=16).estimate(q, FanInGaussian(q.weight_spec))
        >>> bool(estimate.value == estimate.diagnostics["analytic"] - estimate.diagnostics["mutual_information"])
        True
    """

    def __init__(self, num_latents: int = 10, *, orthogonal: bool = True, antithetic: bool = False) -> None:
        self.orthogonal = bool(orthogonal)
        self.num_latents = check_int("num_latents", num_latents, 1)
        self.antithetic = bool(antithetic)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """Estimate the KL from ``num_samples`` latents (``num_latents`` if None).

        Returns:
            A :class:`KLEstimate` with the diagnostics ``analytic``, ``mutual_information``, ``constant`` (the part of
            ``analytic`` that no latent changes, mostly ``P log(1 / sigma)``) and ``standard_error``.
        """
        posterior = as_semi_implicit(q, "LIVI")
        prior = prior_of(posterior, p)
        z = self._latents(posterior, number_of_samples(num_samples, self.num_latents), generator)
        information = half_log_det(posterior.geometry.gram(z, posterior.sigma**-2))
        rest, constant = analytic_part(posterior, prior, z, generator=generator)
        terms = rest.detach() - information.detach()
        analytic, mutual = constant + rest.mean(), information.mean().to(z)
        surrogate = analytic - mutual
        value = check_value(surrogate.detach(), "LIVI")
        diagnostics = {
            "analytic": analytic.detach(),
            "mutual_information": mutual.detach(),
            "constant": constant.detach(),
            "num_latents": z.shape[0],
        }
        later = {"standard_error": lambda: spread_of(terms)}
        return KLEstimate(value, surrogate, None, None, Findings(diagnostics, later))

    def log_density(self, q: Distribution | nn.Module, draw: WeightDraw) -> Tensor:
        r"""Log-density at the draw's own weights, linearized at the draw's own latent: ``(S,)``.

        With :math:`G = J^\top \sigma^{-2} J` and :math:`b = J^\top \varepsilon / \sigma`, both at the latent ``z``,

        .. math:: \log q(w) = -\tfrac12 \left[\log\det(2 \pi \sigma^2 scale^2) + \log\det(I + G) + |\varepsilon|^2
            + |z|^2 - (b - z)^\top (I + G)^{-1} (b - z)\right],

        exact for a linear hypernetwork. Its expected gradient is that of the determinants alone, for any
        hypernetwork the gradient of :meth:`estimate`; so only these carry a gradient, and no noise of ``P`` dimensions
        enters it.
        """
        posterior = as_semi_implicit(q, "LIVI")
        half, correction = _density_form(posterior, draw)
        _, eps = latent_and_noise(draw)
        num = posterior.geometry.num_weights
        constant = total(posterior.sigma.log(), num) + posterior.log_volume + 0.5 * num * math.log(2 * math.pi)
        return (-half - correction - 0.5 * (eps**2).sum(-1) - constant).to(eps)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        r"""The mutual information on given draws, so that it can be held against :class:`ImportanceSandwich`.

        ``per_draw`` are the determinants; the density form on the same draws,
        :math:`\log N(w; h(z), \sigma^2) - \log q(w)`, is the diagnostic ``density_form``.
        """
        posterior = as_semi_implicit(q, "LIVI")
        half, correction = _density_form(posterior, draw)
        form = {"density_form": (half + correction).detach()}
        return MutualInformation(half.mean(), half, spread_of(half), diagnostics=form)

    def _latents(self, q: SemiImplicit, num: int, generator: torch.Generator | None) -> Tensor:
        if self.antithetic and num % 2:
            raise value_error("num_samples", expected="an even number with antithetic latents", got=num)
        count = num // 2 if self.antithetic else num
        geometry = q.geometry
        if self.orthogonal:
            z = even_latents(geometry.zero_latent(), count, generator)
        else:
            z = geometry.draw_latent(count, generator)
        return torch.cat([z, -z]) if self.antithetic else z


def _density_form(q: SemiImplicit, draw: WeightDraw) -> tuple[Tensor, Tensor]:
    r"""The determinant, with gradient, and what the density form of the mutual information adds to it, without.

    The latter is :math:`\tfrac12 [|z|^2 - (b - z)^\top (I + G)^{-1} (b - z)]`,
    :math:`b = J^\top \varepsilon / \sigma`.
    """
    latent, eps = latent_and_noise(draw)
    root = identity_plus_cholesky(q.geometry.gram(latent, q.sigma**-2))
    half = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    with torch.no_grad():
        z = latent.to(root)
        pulled = q.geometry.vjp(latent, eps / q.sigma).to(root) - z
        solved = torch.linalg.solve_triangular(root, pulled.unsqueeze(-1), upper=False).squeeze(-1)
        correction = 0.5 * ((z**2).sum(-1) - (solved**2).sum(-1))
    return half, correction


_GROUP = 8


def even_latents(like: Tensor, num: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Latents ``(num, n)`` in the dtype and on the device of ``like`` ``(n,)``, each of them standard normal.

    Directions are the rows of random rotations. Lengths are stratified: of a sorted sample of lengths, one of each
    group of neighbors, in random order; a random member of a random group is a random member of the sample. So means
    over the latents are unbiased, and those of quadratic functions, such as the squared norm of generated weights, have
    far less noise than over independent ones.

    References:
        Yu, Suresh, Choromanski, Holtmann-Rice, Kumar, "Orthogonal random features", 2016.
    """
    n = like.shape[0]
    rotation, upper = torch.linalg.qr(precise(normal_like(like, (-(-num // n), n, n), generator)))
    rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    squares = normal_like(like, (num * _GROUP, n), generator).square().sum(-1).sort().values
    pick = uniform_like(like, (2, num), generator)
    member = (pick[:1].T * _GROUP).long().clamp_max(_GROUP - 1)
    lengths = squares.reshape(num, _GROUP).gather(1, member).sqrt()[pick[1].argsort()]
    return lengths * rotation.mT.reshape(-1, n)[:num].to(like)
