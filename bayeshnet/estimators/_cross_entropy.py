"""Log-densities of priors of any kind, and the part of the KL that needs no mutual information."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..distributions.dirac import Dirac
from ..distributions.semi_implicit import SemiImplicit, SharedNoise
from ..errors import value_error
from ..rng import normal_like
from ._split import conditional_kl, noise_entropy
from .latent_posterior import implicit_log_prob

__all__ = ["analytic_part", "log_prob_of"]


def log_prob_of(p: Distribution, w: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Log-density ``(S,)`` of a prior at weights ``(S, P)``; of a hypernetwork posterior by importance sampling."""
    if isinstance(p, (Dirac, SharedNoise)):
        raise value_error(
            "p",
            expected="a prior with a density at any weights",
            found=type(p).__name__,
            hint="Take an explicit distribution, or a hypernetwork posterior with independent noise.",
        )
    if isinstance(p, SemiImplicit) and not p.geometry.is_affine:
        return implicit_log_prob(p, w, generator=generator)
    return p.log_prob(w)


def analytic_part(
    q: SemiImplicit, p: Distribution, z: Tensor, eps: Tensor | None = None, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    r"""Terms ``(M,)`` and constant ``()`` of :math:`E_z \mathrm{KL}(N(h(z), \sigma^2) \| p)`.

    For a Gaussian prior the noise is integrated out. For another one a draw per latent stands for it, with noise
    ``eps`` ``(M, P)`` if given.
    """
    gaussian = conditional_kl(q, p)
    if gaussian is not None:
        return gaussian.at(z), gaussian.constant
    if eps is None:
        eps = normal_like(z, (z.shape[0], q.geometry.num_weights), generator)
    return -log_prob_of(p, q.place(z, eps).w, generator), -noise_entropy(q)
