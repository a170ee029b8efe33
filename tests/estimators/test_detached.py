"""Distributions with constant parameters: equal densities, through which no gradient reaches a parameter."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from bayeshnet.distributions import LowRankGaussian, MeanFieldGaussian, Radial
from bayeshnet.estimators.monte_carlo import detached


def tensor(*size, seed):
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


MAKE = {
    "mean field": lambda: MeanFieldGaussian(tensor(4, seed=0), tensor(4, seed=1).exp()),
    "low rank": lambda: LowRankGaussian(tensor(4, seed=0), tensor(4, 2, seed=1), tensor(4, seed=2).exp()),
    "torch's": lambda: Independent(Normal(tensor(4, seed=0), tensor(4, seed=1).exp()), 1),
    "full": lambda: MultivariateNormal(tensor(4, seed=0), scale_tril=torch.diag(tensor(4, seed=1).exp())),
}


@pytest.mark.parametrize("name", MAKE)
def test_the_density_is_the_same_and_constant(name):
    q, w = MAKE[name](), tensor(3, 4, seed=3).detach()
    assert q.log_prob(w).requires_grad
    constant = detached(q).log_prob(w)
    torch.testing.assert_close(constant, q.log_prob(w).detach())
    assert not constant.requires_grad


def test_a_radial_distribution_stays_as_it_is():
    assert detached(Radial(torch.zeros(2), torch.ones(2))) is None
