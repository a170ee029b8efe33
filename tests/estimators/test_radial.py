"""The divergence of the radial distribution from a prior whose means are not zero."""

import math

import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Independent, Normal, kl_divergence

from bayeshnet.distributions import MeanFieldGaussian, Radial
from bayeshnet.estimators import ClosedForm
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE


def normal(*size, seed=0):
    return torch.randn(*size, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def test_radial_kl_to_a_prior_with_means_by_hand():
    loc, scale, prior = (
        normal(3),
        normal(3, seed=1).exp(),
        MeanFieldGaussian(normal(3, seed=2), normal(3, seed=3).exp()),
    )
    q = Radial(loc, scale, WeightSpec.of_shapes([[1], [1], [1]]))
    exact = kl_divergence(Independent(Normal(loc, scale), 1), Independent(Normal(prior.loc, prior.scale), 1))
    torch.testing.assert_close(ClosedForm().estimate(q, prior).value, exact)


def test_radial_kl_to_a_prior_with_means_by_quadrature():
    """Two weights of one tensor: the integral over their distance and direction."""
    loc, scale, prior = (
        normal(2),
        normal(2, seed=1).exp(),
        MeanFieldGaussian(normal(2, seed=2), normal(2, seed=3).exp()),
    )
    angles = torch.arange(8, dtype=DTYPE) * math.pi / 4
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1)
    independent = Independent(Normal(prior.loc, prior.scale), 1)

    def integrand(r):
        half_normal = 2 * math.exp(-0.5 * r * r) / math.sqrt(2 * math.pi)
        log_q = math.log(half_normal) - math.log(2 * math.pi * r) - float(scale.log().sum())
        return half_normal * (log_q - float(independent.log_prob(loc + scale * circle * r).mean()))

    expected = quad(integrand, 0, 12, epsabs=1e-10)[0]
    found = ClosedForm().estimate(Radial(loc, scale), prior).value
    assert found.item() == pytest.approx(expected, rel=1e-7)
