"""Distributions whose weights are a generated mean plus Gaussian noise, in whitened coordinates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..errors import check_positive, type_error, value_error
from ..geometry.base import Geometry
from ..rng import normal_like
from ..weights import WeightSpec, Whitening
from .base import WeightDistribution, WeightDraw
from .gaussian import LowRankGaussian

__all__ = ["GeneratedWeights", "SemiImplicit", "SharedNoise"]


class GeneratedWeights(WeightDistribution):
    r"""What :class:`SemiImplicit` and :class:`SharedNoise` have in common: :math:`w = loc + scale \cdot u`.

    Attributes:
        geometry: the map :math:`h: \mathbb{R}^n \to \mathbb{R}^P`.
        sigma: standard deviation of the noise in u-space, ``()`` or ``(P,)``.
        loc: offset of the whitening, ``()`` or ``(P,)``.
        scale: scale of the whitening, ``()`` or ``(P,)``.
        whitening: the affine map from u-space to weights, or None for the identity.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        geometry: Geometry,
        sigma: float | Tensor,
        whitening: Whitening | None = None,
        weight_spec: WeightSpec | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(geometry, Geometry):
            raise type_error(
                "geometry",
                expected="a Geometry",
                got=geometry,
                hint="Take hnet.geometry(cond_id), or use HypernetPosterior(hnet).",
            )
        num = geometry.num_weights
        if weight_spec is not None and weight_spec.numel != num:
            raise value_error("weight_spec", expected=f"{num} weights", found=str(weight_spec.numel))
        self.geometry = geometry
        self.weight_spec = weight_spec
        self.whitening = whitening
        zero = geometry.zero_latent()
        self.sigma = _check_sigma(sigma, zero, num, validate_args)
        if whitening is None:
            self.loc, self.scale = zero.new_zeros(()), zero.new_ones(())
        else:
            self.loc, self.scale = whitening.loc, whitening.scale
            for name, value in (("loc", self.loc), ("scale", self.scale)):
                if value.shape not in (torch.Size(), torch.Size((num,))):
                    raise value_error(f"whitening.{name}", expected=f"a tensor of shape () or ({num},)", got=value)
        super().__init__(torch.Size(), torch.Size((num,)), validate_args=False)

    @property
    def latent_size(self) -> int:
        """The number ``n`` of latents."""
        return self.geometry.latent_size

    @property
    def log_volume(self) -> Tensor:
        r"""The constant :math:`\sum_i \log scale_i` by which densities of ``w`` and ``u`` differ."""
        return total(self.scale.log(), self.geometry.num_weights)

    def whiten(self, w: Tensor) -> Tensor:
        """Whitened weights ``u = (w - loc) / scale`` of ``w`` ``(*B, P)``."""
        return w if self.whitening is None else (w - self.loc) / self.scale

    def unwhiten(self, u: Tensor) -> Tensor:
        """Weights ``w = loc + scale * u`` of ``u`` ``(*B, P)``."""
        return u if self.whitening is None else torch.addcmul(self.loc, self.scale, u)

    def whitened(self, draw: WeightDraw) -> Tensor:
        """Whitened weights ``(S, P)`` of a draw of this distribution."""
        return self.whiten(draw.w) if draw.u is None else draw.u

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n={self.latent_size}, P={self.geometry.num_weights})"


class SemiImplicit(GeneratedWeights):
    r"""Weights of a hypernetwork with independent noise, the distribution that the library exists for.

    .. math::
        u = h(z) + \sigma \odot \varepsilon, \quad w = loc + scale \odot u,
        \qquad z \sim N(0, I_n), \; \varepsilon \sim N(0, I_P).

    Its density :math:`q(w) = \int N(z; 0, I)\, N(u; h(z), \sigma^2)\, dz` is known only when ``h`` is affine;
    estimators work with the draw's own latent instead.

    Args:
        geometry: the map ``h`` at one condition.
        sigma: noise in u-space, one number or ``(P,)``.
        whitening: affine map from u-space to weights (identity if None).
        weight_spec: names and shapes of the weights.
        validate_args: whether to look at the values of a tensor ``sigma``; on unless torch's default is off.

    Shape:
        Draws are ``w`` ``(S, P)``, ``z`` ``(S, n)``, ``eps`` ``(S, P)``.

    References:
        Yin, Zhou, "Semi-implicit variational inference", 2018.
    """

    def place(self, z: Tensor, eps: Tensor) -> WeightDraw:
        """The draw that latents ``z`` ``(S, n)`` and noise ``eps`` ``(S, P)`` make."""
        u = torch.addcmul(self.geometry(z), self.sigma, eps)
        return WeightDraw(self.unwhiten(u), z, eps, u)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors together with their latents and their noise."""
        z = self.geometry.draw_latent(num, generator)
        return self.place(z, normal_like(z, (num, self.geometry.num_weights), generator))

    def to_gaussian(self) -> LowRankGaussian:
        """The same distribution as a low-rank Gaussian; only an affine ``h`` has one."""
        matrix, offset = self.geometry.affine()
        scale, noise = self.scale, (self.scale * self.sigma) ** 2
        factor = matrix * (scale.unsqueeze(-1) if scale.ndim else scale)
        return LowRankGaussian(self.loc + scale * offset, factor, noise.expand(offset.shape), self.weight_spec)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density ``(*B,)`` at any weights ``(*B, P)``; refused unless ``h`` is affine."""
        if not self.geometry.is_affine:
            raise ValueError(
                "SemiImplicit.log_prob: expected an affine hypernetwork, got a nonlinear one, whose density is an "
                "integral. Use LIVI().log_density(q, draw), or ImportanceSandwich().log_prob(q, w) at any weights."
            )
        return self.to_gaussian().log_prob(value)


class SharedNoise(GeneratedWeights):
    r"""The documented equation of the perturbation wrapper: one noise vector for the latent and for the output.

    .. math:: u = h(z_{1:n}) + \sigma \odot z, \quad w = loc + scale \odot u, \qquad z \sim N(0, I_P).

    The map ``z -> u`` is square, so that a density exists by change of variables where it is injective
    (:class:`~bayeshnet.estimators.ChangeOfVariables`). The conditional given the latent is degenerate in ``n``
    coordinates; estimators for independent noise refuse it.

    Shape:
        Draws are ``w`` ``(S, P)``, ``z`` ``(S, n)`` (the first entries of the noise) and ``eps`` ``(S, P)`` (all).
    """

    def __init__(
        self,
        geometry: Geometry,
        sigma: float | Tensor,
        whitening: Whitening | None = None,
        weight_spec: WeightSpec | None = None,
        *,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(geometry, sigma, whitening, weight_spec, validate_args=validate_args)
        if self.latent_size > geometry.num_weights:
            raise value_error(
                "geometry",
                expected=f"a latent of at most {geometry.num_weights} entries",
                found=str(self.latent_size),
                hint='The latent is the beginning of the noise; use noise="independent" for a larger one.',
            )

    def place(self, noise: Tensor) -> WeightDraw:
        """The draw that the noise ``(S, P)`` makes."""
        z = noise[:, : self.latent_size]
        u = self.geometry(z) + self.sigma * noise
        return WeightDraw(self.unwhiten(u), z, noise, u)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` weight vectors together with their noise."""
        return self.place(normal_like(self.geometry.zero_latent(), (num, self.geometry.num_weights), generator))


def total(values: Tensor, num: int) -> Tensor:
    """Sum of ``num`` entries given as one value ``()`` or each ``(num,)``."""
    return values.sum() if values.ndim else values * num


def _check_sigma(sigma: Any, like: Tensor, num: int, validate: bool | None) -> Tensor:
    """``sigma`` as a tensor ``()`` or ``(num,)`` in the dtype of ``like``."""
    advice = "It is a standard deviation, in units of scale."
    if not isinstance(sigma, Tensor):
        return torch.full((), check_positive("sigma", sigma, advice), dtype=like.dtype, device=like.device)
    if sigma.shape not in (torch.Size(), torch.Size((num,))):
        raise value_error("sigma", expected=f"a number or a tensor of shape () or ({num},)", got=sigma, hint=advice)
    if validate is None:
        validate = torch.distributions.Distribution._validate_args
    if validate and not bool(((sigma > 0) & torch.isfinite(sigma)).all()):
        raise value_error("sigma", expected="finite values > 0", found="others among its entries", hint=advice)
    return sigma.to(like)
