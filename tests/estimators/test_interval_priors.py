"""Intervals of the KL to a prior that is a hypernetwork: linear ones, which the library does not know to be linear."""

import copy

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from bayeshnet.distributions import SemiImplicit
from bayeshnet.estimators import kl_interval
from bayeshnet.estimators.intervals import implicit_prior
from bayeshnet.estimators.intervals.information import EFFORTS
from bayeshnet.hnets import HMLP
from tests.support.oracles import DTYPE

SIGMA = 0.3


def linear(x):
    """Return the input: an activation that leaves a perceptron linear."""
    return 1.0 * x


def pair(num, moved):
    """Two hidden units linear in two latents, and the same after a small move of all parameters and the noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        then = HMLP(
            [[num]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[2], verbose=False, activation_fn=linear
        ).to(DTYPE)
        now = copy.deepcopy(then)
        with torch.no_grad():
            for parameter in now.parameters():
                parameter += moved * torch.randn_like(parameter)
    sigmas = torch.tensor([SIGMA, SIGMA * (1 + moved)], dtype=DTYPE)
    return [SemiImplicit(hnet.geometry(), sigma) for hnet, sigma in zip((then, now), sigmas, strict=True)]


def dense(q):
    """The Gaussian of a linear posterior, from its values."""
    points = torch.cat([torch.zeros(1, 2), torch.eye(2)]).to(DTYPE)
    with torch.no_grad():
        loc, *rest = q.geometry(points)
    matrix = torch.stack(rest, -1) - loc.unsqueeze(-1)
    return MultivariateNormal(loc, matrix @ matrix.T + q.sigma**2 * torch.eye(len(loc), dtype=DTYPE))


@pytest.mark.parametrize("moved", [0.0, pytest.param(0.02, marks=pytest.mark.slow)])
def test_the_noise_of_many_weights_costs_nothing(moved):
    """The logarithm of the prior's density scatters by 17 nats over 600 weights, and its mean over 64 draws by 2."""
    then, now = pair(600, moved)
    truth = float(kl_divergence(dense(then), dense(now)))
    found = kl_interval(then, now, 64, quick=True, generator=torch.Generator().manual_seed(1))
    assert found.analytic.error < 0.3
    assert found.lower - 0.01 <= truth <= found.upper + 0.01
    if moved == 0:
        assert truth == pytest.approx(0.0, abs=1e-6)
        assert found.verdict == "trusted"
        assert found.value < 0.3


def test_what_is_added_has_the_mean_of_the_information():
    """Over many draws, within four standard errors; with the density it has almost no scatter left."""
    then, now = pair(60, 0.03)
    with torch.no_grad():
        draw = then.draw(1000, torch.Generator().manual_seed(1))
        noise = implicit_prior._noise(
            implicit_prior._Pair(then, now), draw, EFFORTS[0], torch.Generator().manual_seed(2)
        )
        density = dense(now).log_prob(draw.w)
    information = 0.5 * torch.logdet(dense(then).covariance_matrix / SIGMA**2)
    assert abs(float(noise.mean() - information)) < 4 * float(noise.std()) / 1000**0.5
    assert float((density + noise).std()) < 0.2 * float(density.std())
