"""LIVI: the KL of a hypernetwork posterior through the log-determinant of a small Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...errors import check_flags, value_error
from ...geometry.information import information_at, information_root
from ...geometry.linalg import precise
from ...rng import normal_like, uniform_like
from ..accepted import semi_implicit
from ..analytic import analytic_part, kl_of_parts
from ..base import DensityEstimator, KLEstimate, MutualInformation
from ..draws import latent_and_noise, standard_error
from ..noise import log_normalizer

__all__ = ["LIVI", "even_latents"]


class LIVI(DensityEstimator):
    r"""Linearized implicit variational inference: exact for a linear hypernetwork, close for others.

    .. math::
        \mathrm{KL}(q \| p) = E_z\, \mathrm{KL}(N(h(z), \sigma^2) \| p) - I(w; z), \qquad
        I(w; z) \approx \tfrac12 E_z \log\det(I_n + J^\top \sigma^{-2} J).

    The first term is analytic for Gaussian priors. Only the second is linearized, in ``n`` dimensions and never in
    ``P``: with a linear head no weight vector is computed at all.

    The estimate is not a bound. It is too low by up to ``log k`` where ``k`` latents far apart give the same weights
    (a fold), which :class:`ImportanceSandwich` detects. Training is drawn to folds, where the bound is higher than the
    evidence; :func:`~bayeshnet.inference.fit` looks for them at the end. Kinks are folds and bends too: of ReLU
    hypernetworks at their initialization (4 latents, 100 weights, noise 0.1) the information came out between 0.4 nats
    too high and 0.4 too low, of tanh ones not above what there is. Its gradient is heavy-tailed where the Jacobian is
    nearly rank-deficient: take more latents there. In single precision products of Jacobians are formed in double
    precision where some singular values would be lost in the rounding errors of the largest; on devices other than the
    CPU always.

    Args:
        num_samples: latents ``M`` per estimate; 8 to 32 are usual.
        orthogonal: draw latents in orthogonal blocks, each still standard normal. This removes most of the variance of
            the analytic term and its gradient and changes no expectation; the standard error reported is then too
            large.
        antithetic: draw latents in pairs ``(z, -z)``, which removes the part of the analytic term's variance that is
            odd in ``z``; ``M`` is then even.
        num_latents: old name of ``num_samples``.

    Diagnostics:
        ``analytic``; ``mutual_information``; ``constant``, the part of ``analytic`` that does not depend on the
        latent, mostly ``P log(1 / sigma)``; ``num_latents``; ``standard_error``.

    References:
        Uppal, Stensbo-Smidt, Boomsma, Frellsen, "Implicit variational inference for high-dimensional posteriors", 2023.

    Example:
        >>> from bayeshnet.distributions import FanInGaussian, HypernetPosterior
        >>> from bayeshnet.hnets import HMLP
        >>> hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
        >>> q = HypernetPosterior(hnet, scale="fan_in")
        >>> estimate = LIVI(num_samples=16).estimate(q, FanInGaussian(q.weight_spec))
        >>> bool(estimate.value == estimate.diagnostics["analytic"] - estimate.diagnostics["mutual_information"])
        True
    """

    accepts = semi_implicit
    density_per_draw = False

    def __init__(
        self,
        num_samples: int = 10,
        *,
        orthogonal: bool = True,
        antithetic: bool = False,
        num_latents: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_latents=num_latents)
        check_flags(orthogonal=orthogonal, antithetic=antithetic)
        self.orthogonal = bool(orthogonal)
        self.antithetic = bool(antithetic)

    def _estimate(
        self, q: SemiImplicit, p: Distribution, num_samples: int, generator: torch.Generator | None
    ) -> KLEstimate:
        z = self._latents(q, num_samples, generator)
        information = information_at(q.geometry, z, q.sigma**-2)
        analytic = analytic_part(q, p, z, generator=generator)
        terms = analytic.terms.detach() - information.detach()
        return kl_of_parts(
            analytic,
            information.mean().to(z),
            diagnostics={"num_latents": z.shape[0]},
            later={"standard_error": lambda: standard_error(terms)},
        )

    def _log_density(self, q: SemiImplicit, draw: WeightDraw) -> Tensor:
        r"""Evaluate the density linearized at the draw's own latent, ``(S,)``.

        With :math:`G = J^\top \sigma^{-2} J` and :math:`b = J^\top \varepsilon / \sigma`, both at the latent ``z``,

        .. math:: \log q(w) = -\tfrac12 \left[\log\det(2 \pi \sigma^2 scale^2) + \log\det(I + G) + |\varepsilon|^2
            + |z|^2 - (b - z)^\top (I + G)^{-1} (b - z)\right],

        exact for a linear hypernetwork. Its expected gradient is that of the determinants alone, which for any
        hypernetwork is the gradient of the estimate. So only the determinants carry a gradient, without noise of ``P``
        dimensions.
        """
        half, correction = _density_form(q, draw)
        _, eps = latent_and_noise(draw)
        return (-half - correction - 0.5 * (eps**2).sum(-1) - log_normalizer(q)).to(eps)

    def mutual_information(
        self, q: Distribution | nn.Module, draw: WeightDraw, generator: torch.Generator | None = None
    ) -> MutualInformation:
        r"""Estimate the mutual information on given draws, for comparison with :class:`ImportanceSandwich`.

        ``per_draw`` are the determinants; the density form on the same draws,
        :math:`\log N(w; h(z), \sigma^2) - \log q(w)`, is the diagnostic ``density_form``.
        """
        half, correction = _density_form(self._accept(q), draw)
        form = {"density_form": (half + correction).detach()}
        return MutualInformation(half.mean(), half, standard_error(half), diagnostics=form)

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
    r"""Return the determinants with gradient, and the correction of the density form without gradient, ``(S,)`` each.

    The correction is :math:`\tfrac12 [|z|^2 - (b - z)^\top (I + G)^{-1} (b - z)]`,
    :math:`b = J^\top \varepsilon / \sigma`.
    """
    latent, eps = latent_and_noise(draw)
    root = information_root(q.geometry, latent, q.sigma**-2)
    half = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    with torch.no_grad():
        z = latent.to(root)
        pulled = q.geometry.vjp(latent, eps / q.sigma).to(root) - z
        solved = torch.linalg.solve_triangular(root, pulled.unsqueeze(-1), upper=False).squeeze(-1)
        correction = 0.5 * ((z**2).sum(-1) - (solved**2).sum(-1))
    return half, correction


_GROUP = 8
"""Lengths drawn for each one that is used."""


def even_latents(like: Tensor, num: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Draw latents ``(num, n)`` in the dtype and on the device of ``like`` ``(n,)``, each of them standard normal.

    Directions are the rows of random rotations. Lengths are stratified: a sample of lengths is sorted and cut into
    groups of neighbors, and one random member of each group is taken, in random order. A random member of a random
    group is a random member of the sample, so means over the latents are unbiased; those of quadratic functions, such
    as the squared norm of generated weights, have far less variance than over independent latents.

    References:
        Yu, Suresh, Choromanski, Holtmann-Rice, Kumar, "Orthogonal random features", 2016.
    """
    n = like.shape[0]
    if not n:
        return like.new_zeros(num, 0)
    rotation, upper = torch.linalg.qr(precise(normal_like(like, (-(-num // n), n, n), generator)))
    rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    squares = normal_like(like, (num * _GROUP, n), generator).square().sum(-1).sort().values
    pick = uniform_like(like, (2, num), generator)
    member = (pick[:1].T * _GROUP).long().clamp_max(_GROUP - 1)
    lengths = squares.reshape(num, _GROUP).gather(1, member).sqrt()[pick[1].argsort()]
    found: Tensor = lengths * rotation.mT.reshape(-1, n)[:num].to(like)
    return found
