"""Posteriors and priors whose divergence is known, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from ..distributions import LowRankGaussian, MeanFieldGaussian, SemiImplicit
from ..geometry import JacobianGeometry

__all__ = ["PROBLEMS", "Problem", "standard_prior"]

_DTYPE = torch.float64
_SIZE = 6


@dataclass(frozen=True)
class Problem:
    """A posterior and a prior.

    Args:
        q: the posterior.
        p: the prior, N(0, I).
        exact: their divergence in nats, a function of the parameters.
        parameters: of the posterior; with ``sigma`` last where a latent makes the weights.
    """

    q: Any
    p: Any
    exact: Tensor
    parameters: list[Tensor]


def standard_prior(size: int = _SIZE) -> MeanFieldGaussian:
    """Return N(0, I) of a number of weights."""
    return MeanFieldGaussian(torch.zeros(size, dtype=_DTYPE), torch.ones(size, dtype=_DTYPE))


def _parts(columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(columns)
    matrix = 0.8 * torch.randn(_SIZE, columns, dtype=_DTYPE, generator=generator)
    return matrix, 0.5 * torch.randn(_SIZE, dtype=_DTYPE, generator=generator)


def _dense(q: tuple[Tensor, Tensor], p: MeanFieldGaussian) -> Tensor:
    """Compute the divergence of a Gaussian of mean and covariance from the prior."""
    exact: Tensor = kl_divergence(MultivariateNormal(*q), MultivariateNormal(p.mean, p.variance.diag()))
    return exact


def _implicit() -> Problem:
    """A linear map of two latents plus noise, whose law is Gaussian; estimators cannot see that it is linear."""
    matrix, offset = (t.requires_grad_() for t in _parts(2))
    sigma = torch.tensor(0.4, dtype=_DTYPE).requires_grad_()
    geometry = JacobianGeometry(lambda z: z @ matrix.T + offset, 2, _SIZE, like=torch.empty(0, dtype=_DTYPE))
    covariance = matrix @ matrix.T + sigma**2 * torch.eye(_SIZE, dtype=_DTYPE)
    exact = _dense((offset, covariance), standard_prior())
    return Problem(SemiImplicit(geometry, sigma), standard_prior(), exact, [matrix, offset, sigma])


def _mean_field() -> Problem:
    loc = _parts(1)[1].requires_grad_()
    scale = torch.linspace(0.3, 1.2, _SIZE, dtype=_DTYPE).requires_grad_()
    return Problem(
        MeanFieldGaussian(loc, scale),
        standard_prior(),
        _dense((loc, (scale**2).diag()), standard_prior()),
        [loc, scale],
    )


def _low_rank() -> Problem:
    factor, loc = (t.requires_grad_() for t in _parts(2))
    diag = torch.linspace(0.1, 0.6, _SIZE, dtype=_DTYPE).requires_grad_()
    exact = _dense((loc, factor @ factor.T + diag.diag()), standard_prior())
    return Problem(LowRankGaussian(loc, factor, diag), standard_prior(), exact, [loc, factor, diag])


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "implicit": _implicit,
    "mean field": _mean_field,
    "low rank": _low_rank,
}
"""Functions that make a problem anew, by name."""
