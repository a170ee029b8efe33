"""Pairs of posterior and prior whose divergence is known with its gradient, of every kind that estimators meet."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from bayeshnet.distributions import LowRankGaussian, MeanFieldGaussian, Radial, SemiImplicit
from bayeshnet.weights import WeightSpec
from tests.support.oracles import (
    DTYPE,
    BananaProblem,
    DenseGeometry,
    FoldProblem,
    LinearProblem,
    MixtureProblem,
    SharedLinearProblem,
    TanhProblem,
    banana_flow,
    quadrature_kl,
    quadrature_log_density,
    standard_prior,
)

__all__ = ["EXPLICIT", "PROBLEMS", "SEMI", "SHARED", "Known", "known"]


@dataclass
class Known:
    """A posterior and a prior.

    Attributes:
        q: the posterior.
        p: the prior.
        exact: their KL, differentiable.
        parameters: of the posterior's map or location and scale.
        second: mean of the squared norm of the weights, differentiable; None where the prior is not N(0, I).
        sigma: standard deviation of the noise, if there is one.
        information: mutual information of weights and latent, if there is a latent.
    """

    q: Distribution
    p: Distribution
    exact: Tensor
    parameters: list[Tensor]
    second: Tensor | None = None
    sigma: Tensor | None = None
    information: Tensor | None = None

    @property
    def negative_entropy(self) -> Tensor | None:
        """Mean of ``log q`` up to a constant: what is left of the KL to a prior so wide that it does not pull."""
        return None if self.second is None else self.exact - 0.5 * self.second


def linear(n: int, P: int, sigma: float, affine: bool = False) -> Callable[[], Known]:
    """A linear hypernetwork, whose law is a Gaussian."""

    def make() -> Known:
        problem = LinearProblem.make(n, P, sigma)
        exact = problem.kl(torch.zeros(P, dtype=DTYPE), torch.ones((), dtype=DTYPE))
        second = problem.A.square().sum() + problem.b.square().sum() + P * problem.sigma**2
        leaves = [problem.A, problem.b]
        return Known(problem.q(affine), standard_prior(P), exact, leaves, second, problem.sigma, problem.information())

    return make


def two_linear() -> Known:
    """A linear hypernetwork and another one as its prior."""
    q, p = LinearProblem.make(2, 12, 0.3), LinearProblem.make(2, 12, 0.4, seed=4)
    exact = kl_divergence(q.dense(), p.dense())
    return Known(q.q(), p.q(affine=True), exact, [q.A, q.b], None, q.sigma, q.information())


def banana() -> Known:
    """The noisy banana in many dimensions."""
    problem = BananaProblem.make(30, sigma=0.2)
    exact = problem.kl_to_standard()
    second = 2 + 2 * problem.bend**2 + 30 * problem.sigma**2
    conditional = 0.5 * (second - 30) - 30 * problem.sigma.log()
    return Known(problem.q(), standard_prior(30), exact, [problem.bend], second, problem.sigma, conditional - exact)


def tanh() -> Known:
    """A nonlinear hypernetwork of two weights, by quadrature over the latent and over the weights."""
    problem = TanhProblem.make(1, 2, 8, 0.15, gain=0.5)
    exact = quadrature_kl(lambda w: quadrature_log_density(problem, w))
    nodes = torch.linspace(-7, 7, 2001, dtype=DTYPE)
    mass = torch.exp(-0.5 * nodes**2)
    norms = problem.h(nodes[:, None]).square().sum(-1)
    second = (mass * norms).sum() / mass.sum() + 2 * problem.sigma**2
    conditional = 0.5 * (second - 2) - 2 * problem.sigma.log()
    leaves = [problem.W1, problem.W2, problem.b]
    return Known(problem.q(), standard_prior(2), exact, leaves, second, problem.sigma, conditional - exact)


def fold() -> Known:
    """Two latents for each vector of weights."""
    problem = FoldProblem.make(5, 0.1)
    second = 3 * problem.a.square().sum() + 5 * problem.sigma**2
    return Known(
        problem.q(), standard_prior(5), problem.kl(), [problem.a], second, problem.sigma, problem.information()
    )


def constant() -> Known:
    """A map that does not depend on its latent: a Gaussian with independent weights."""
    b, sigma = torch.linspace(-1, 1, 4, dtype=DTYPE).requires_grad_(), torch.tensor(0.6, dtype=DTYPE).requires_grad_()
    q = SemiImplicit(DenseGeometry(lambda z: b + 0 * z[..., :1], 2, 4), sigma)
    exact = kl_divergence(MeanFieldGaussian(b, sigma.expand(4)), standard_prior(4))
    second = b.square().sum() + 4 * sigma**2
    return Known(q, standard_prior(4), exact, [b], second, sigma, torch.zeros((), dtype=DTYPE))


def gaussian(rank: int = 0, prior_rank: int = 0) -> Callable[[], Known]:
    """Gaussians with independent weights or of low rank, to N(0, I) or to one of low rank."""

    def make() -> Known:
        gen = torch.Generator().manual_seed(0)
        loc, diag = torch.randn(6, dtype=DTYPE, generator=gen), 0.2 + torch.rand(6, dtype=DTYPE, generator=gen)
        factor = torch.randn(6, max(1, rank), dtype=DTYPE, generator=gen)
        leaves = [t.requires_grad_() for t in ((loc, diag, factor) if rank else (loc, diag))]
        q = LowRankGaussian(loc, factor, diag) if rank else MeanFieldGaussian(loc, diag)
        p: Distribution = standard_prior(6)
        if prior_rank:
            other = torch.randn(6, prior_rank, dtype=DTYPE, generator=gen)
            p = LowRankGaussian(torch.ones(6, dtype=DTYPE), other, 0.5 * torch.ones(6, dtype=DTYPE))
        exact = kl_divergence(dense(q), dense(p))
        second = None if prior_rank else loc.square().sum() + q.variance.sum()
        return Known(q, p, exact, leaves, second)

    return make


def dense(law: Distribution) -> MultivariateNormal:
    """The same Gaussian with its full covariance, for torch's own KL."""
    if isinstance(law, LowRankGaussian):
        return MultivariateNormal(law.loc, law.factor @ law.factor.T + torch.diag(law.diag))
    return MultivariateNormal(law.loc, torch.diag(law.variance))


def radial() -> Known:
    """Tensors of one weight, whose law is normal, and one of two, by quadrature of its density in polar form."""
    loc = torch.tensor([0.3, -0.2, 1.0], dtype=DTYPE).requires_grad_()
    scale = torch.tensor([0.7, 0.5, 0.8], dtype=DTYPE).requires_grad_()
    q = Radial(loc, scale, WeightSpec.of_shapes([[2], [1]]))
    # In units of the scale the length r = exp(t) is |N(0, 1)| and the direction uniform over 2 pi r.
    t = torch.linspace(-40, 2.5, 20_001, dtype=DTYPE)
    r = t.exp()
    log_length = -0.5 * r**2 + 0.5 * math.log(2 / math.pi)
    mass = log_length.exp() * r * (t[1] - t[0])
    plane = (mass * (log_length - math.log(2 * math.pi) - t)).sum() - scale[:2].log().sum()
    line = -0.5 * math.log(2 * math.pi * math.e) - scale[2].log()
    second = loc.square().sum() + 0.5 * scale[:2].square().sum() + scale[2] ** 2
    exact = plane + line + 0.5 * second + 1.5 * math.log(2 * math.pi)
    return Known(q, standard_prior(3), exact, [loc, scale], second)


def mixture() -> Known:
    """Two modes in the plane."""
    problem = MixtureProblem.make()
    q = problem.q()
    second = (q.variance + q.mean**2).sum()
    return Known(q, standard_prior(2), problem.kl(), [problem.means, problem.scales], second)


def shared() -> Known:
    """One noise vector for latent and output of a linear map: a Gaussian."""
    problem = SharedLinearProblem.make()
    root = problem.A.square().sum() + 2 * problem.sigma * problem.A.diagonal().sum() + 6 * problem.sigma**2
    second = root + problem.b.square().sum()
    return Known(problem.q(), standard_prior(6), problem.kl(), [problem.A, problem.b], second, problem.sigma)


def flow() -> Known:
    """An invertible map of volume one: the noiseless banana."""
    bend = torch.tensor(1.0, dtype=DTYPE).requires_grad_()
    return Known(banana_flow(bend), standard_prior(2), bend**2, [bend], 2 + 2 * bend**2)


PROBLEMS: dict[str, Callable[[], Known]] = {
    "linear n=2 P=3": linear(2, 3, 0.7),
    "linear n=8 P=100": linear(8, 100, 0.1),
    "linear n=5 P=3": linear(5, 3, 0.3),
    "linear, much noise": linear(2, 3, 30.0),
    "two linear": two_linear,
    "banana P=30": banana,
    "tanh": tanh,
    "fold": fold,
    "constant": constant,
    "linear, known to be": linear(2, 3, 0.7, affine=True),
    "mean field": gaussian(),
    "low rank": gaussian(2),
    "two low rank": gaussian(2, 3),
    "radial": radial,
    "mixture": mixture,
    "shared": shared,
    "flow": flow,
}
SEMI = list(PROBLEMS)[:9]
EXPLICIT = list(PROBLEMS)[10:15]
SHARED = list(PROBLEMS)[15:]


@functools.cache
def known(name: str) -> Known:
    """One instance of each."""
    return PROBLEMS[name]()
