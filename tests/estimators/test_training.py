"""Posteriors trained to targets whose best answer is known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import HypernetPosterior, LearnedSigma, MeanFieldGaussian, WeightDistribution, WeightDraw
from bayeshnet.estimators import LIVI, SSGE, ClosedForm, MonteCarlo
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE, BananaProblem, standard_prior

pytestmark = pytest.mark.slow


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def train(loss, parameters, steps, lr):
    optimizer = torch.optim.Adam(parameters, lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 100)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        scheduler.step()


class Regression:
    """Bayesian linear regression ``y = X w + noise`` with prior N(0, I)."""

    def __init__(self, P=3, num=12, noise=0.5):
        gen = generator(1)
        self.X = torch.randn(num, P, dtype=DTYPE, generator=gen)
        self.y = self.X @ torch.randn(P, dtype=DTYPE, generator=gen) + noise * torch.randn(
            num, dtype=DTYPE, generator=gen
        )
        self.noise, self.P = noise, P
        precision = torch.eye(P, dtype=DTYPE) + self.X.T @ self.X / noise**2
        self.cov = torch.linalg.inv(precision)
        self.mean = self.cov @ self.X.T @ self.y / noise**2
        marginal = self.X @ self.X.T + noise**2 * torch.eye(num, dtype=DTYPE)
        self.evidence = MultivariateNormal(torch.zeros(num, dtype=DTYPE), marginal).log_prob(self.y)

    def expected_nll(self, mean, cov):
        """Of a Gaussian posterior, exactly."""
        error = (self.y - self.X @ mean).square().sum() + torch.einsum("ni,ij,nj->", self.X, cov, self.X)
        return 0.5 * error / self.noise**2 + 0.5 * len(self.y) * math.log(2 * math.pi * self.noise**2)

    def nll(self, w):
        residual = self.y - w @ self.X.T
        return 0.5 * (residual**2).sum(-1) / self.noise**2 + 0.5 * len(self.y) * math.log(2 * math.pi * self.noise**2)


@pytest.mark.parametrize("sigma", ["fixed", "learned"])
def test_a_linear_hypernetwork_reaches_the_exact_posterior(sigma):
    """With as many latents as weights and small noise: mean, covariance and evidence of linear regression."""
    problem = Regression()
    spec = WeightSpec.of_shapes([[3]])
    hnet = HMLP([[3]], uncond_in_size=4, cond_in_size=0, layers=(), verbose=False).double()
    noise = 0.02 if sigma == "fixed" else LearnedSigma(spec, 0.1, "scalar", dtype=DTYPE)
    posterior = HypernetPosterior(hnet, sigma=noise)
    p, gen = standard_prior(3), generator()

    def loss():
        q = posterior()
        draw = q.draw(16, gen)
        return LIVI(16).estimate(q, p, generator=gen).surrogate + problem.nll(draw.w).mean()

    train(loss, list(posterior.parameters()), 1500, 0.03)
    law = posterior().to_gaussian()
    cov = (law.factor @ law.factor.T + torch.diag(law.diag)).detach()
    torch.testing.assert_close(law.loc.detach(), problem.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(cov, problem.cov, atol=0.1 * problem.cov.diagonal().max().item(), rtol=0)
    elbo = -(problem.expected_nll(law.loc, cov) + ClosedForm().estimate(posterior, p).value).detach()
    assert elbo.item() == pytest.approx(problem.evidence.item(), abs=0.03)
    assert elbo < problem.evidence + 1e-9


def test_learned_sigma_agrees_with_the_closed_form():
    """Fewer latents than weights: the noise must compensate for the map; LIVI finds the same sigma."""
    target = MultivariateNormal(
        torch.ones(4, dtype=DTYPE), torch.diag(torch.tensor([4.0, 0.09, 0.16, 0.25], dtype=DTYPE))
    )
    p = MeanFieldGaussian(target.mean, target.variance.sqrt())
    spec, found = WeightSpec.of_shapes([[4]]), []
    for method in (LIVI(32), ClosedForm()):
        torch.manual_seed(1)
        hnet = HMLP([[4]], uncond_in_size=1, cond_in_size=0, layers=(), verbose=False).double()
        posterior = HypernetPosterior(hnet, sigma=LearnedSigma(spec, 0.1, "scalar", dtype=DTYPE))
        gen = generator()
        train(
            lambda q=posterior, m=method, g=gen: m.estimate(q, p, generator=g).surrogate,
            list(posterior.parameters()),
            800,
            0.03,
        )
        found.append((posterior().sigma.item(), ClosedForm().estimate(posterior, p).value.item()))
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02)
    assert found[0][1] == pytest.approx(found[1][1], abs=0.01)


class Target(WeightDistribution):
    """A banana in two dimensions with noise, by its exact density; the hypernetwork can represent it exactly."""

    def __init__(self, bend=0.5, sigma=0.4):
        self.problem = BananaProblem(
            torch.eye(2, dtype=DTYPE), torch.tensor(bend, dtype=DTYPE), torch.tensor(sigma, dtype=DTYPE)
        )
        super().__init__(torch.Size(), torch.Size((2,)), validate_args=False)

    def draw(self, num, generator=None):
        return WeightDraw(self.problem.q().draw(num, generator).w)

    def log_prob(self, value):
        return self.problem.log_density(value)


@torch.no_grad()
def exact_kl(q, target, num=1500):
    """KL of a posterior with two latents by quadrature over them, at many draws."""
    draw = q.draw(num, generator(9))
    axis = torch.arange(-5, 5, 0.04, dtype=DTYPE)
    grid = torch.cartesian_prod(axis, axis)
    base = -0.5 * grid.square().sum(-1) + 2 * math.log(0.04) - math.log(2 * math.pi)
    made, sigma = q.geometry(grid), q.sigma.expand(2)
    logs = (
        torch.cat(
            [
                torch.logsumexp(base - 0.5 * torch.cdist(part / sigma, made / sigma).square(), dim=1)
                for part in draw.w.split(100)
            ]
        )
        - sigma.log().sum()
        - math.log(2 * math.pi)
    )
    return (logs - target.log_prob(draw.w)).mean().item()


@pytest.mark.parametrize("method", [LIVI(64), SSGE(200, threshold=0.999)], ids=["LIVI", "SSGE"])
def test_a_banana_is_reached(method):
    """The best achievable KL is zero: the target is a map of two latents plus the posterior's own noise.

    The kernel has to keep nearly all of its modes: at a threshold of 0.99 the noise is among those left out.
    """
    torch.manual_seed(0)
    hnet = HMLP(
        [[2]], uncond_in_size=2, cond_in_size=0, layers=(32,), verbose=False, activation_fn=nn.Tanh(), linear_skip=True
    )
    posterior = HypernetPosterior(hnet.double(), sigma=0.4)
    target, gen = Target(), generator()
    assert exact_kl(posterior(), target) > 0.3
    train(lambda: method.estimate(posterior, target, generator=gen).surrogate, list(posterior.parameters()), 1000, 0.01)
    assert -0.05 < exact_kl(posterior(), target) < 0.05


def test_no_gaussian_reaches_the_banana():
    """With independent weights, which its symmetry makes the best of all Gaussians: so the map has to bend."""
    target, gen = Target(), generator()
    loc, rho = (torch.zeros(2, dtype=DTYPE).requires_grad_() for _ in range(2))

    def loss():
        return MonteCarlo(64).estimate(MeanFieldGaussian(loc, rho.exp()), target, generator=gen).surrogate

    train(loss, [loc, rho], 300, 0.03)
    with torch.no_grad():
        found = MonteCarlo(4000).estimate(MeanFieldGaussian(loc, rho.exp()), target, generator=gen)
    assert found.value - 3 * found.diagnostics["standard_error"] > 0.05
