"""Standard errors that estimates report, beside the scatter of repetitions; intervals of means of skewed values."""

import math

import pytest
import torch

from bayeshnet.distributions import MeanFieldGaussian, SemiImplicit
from bayeshnet.estimators import IWHVI, LIVI, SIVI, ImportanceSandwich, StochasticLIVI, diagnose, kl_interval
from bayeshnet.estimators.intervals.information import skewed_mean
from bayeshnet.estimators.intervals.quasi_random import Mean
from bayeshnet.geometry import ConstantGeometry, JacobianGeometry
from tests.support.oracles import DTYPE

ESTIMATORS = {
    "ImportanceSandwich": lambda: ImportanceSandwich(16, 4, steps=3),
    "IWHVI": lambda: IWHVI(16, 4, steps=0),
    "SIVI": lambda: SIVI(16, 400),
    "LIVI": lambda: LIVI(16, orthogonal=False),
    "StochasticLIVI": lambda: StochasticLIVI(16),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(latent_size=2, sigma=0.5):
    """Return a posterior far from the prior, whose KL varies over latents far more than the information does."""
    matrix = torch.tensor([[1.0, 0.5], [0.2, -1.0], [0.3, 0.3]], dtype=DTYPE)
    offset = torch.tensor([3.0, 0.0, -2.0], dtype=DTYPE)
    fn = JacobianGeometry(lambda z: torch.sinh(0.5 * z) @ matrix.T + offset, 2, 3, like=offset)
    return SemiImplicit(fn, sigma), MeanFieldGaussian(torch.zeros_like(offset), torch.ones_like(offset))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_standard_error_is_that_of_the_value(name):
    (q, p), estimator = bent(), ESTIMATORS[name]()
    found = [estimator.estimate(q, p, generator=generator(seed)) for seed in range(24)]
    scatter = torch.stack([estimate.value for estimate in found]).std()
    reported = torch.stack([estimate.diagnostics["standard_error"] for estimate in found]).square().mean().sqrt()
    assert 0.7 < float(reported / scatter) < 1.4


def exponential(num, seed):
    return -torch.rand(num, dtype=DTYPE, generator=generator(seed)).clamp_min(1e-12).log()


def test_intervals_of_skewed_values_hold_their_means():
    """Of exponentials to the power of two, of mean 2: plain intervals of 48 draws miss it three times as often."""
    missed, plain = 0, 0
    for seed in range(400):
        values, others = exponential(80, seed).square().split([48, 32])
        found = skewed_mean(values, others, 0.95)
        missed += abs(found.value - 2) > found.half_width(0.95)
        plain += abs(float(values.mean()) - 2) > Mean.of(values).half_width(0.95)
    assert missed <= 0.08 * 400
    assert plain >= 0.1 * 400


def test_symmetric_values_have_their_usual_error():
    values = torch.randn(2000, dtype=DTYPE, generator=generator())
    values = torch.cat([values, -values])
    found, plain = skewed_mean(values, values, 0.95), Mean.of(values)
    assert found.value == pytest.approx(plain.value)
    assert found.error == pytest.approx(plain.error, rel=1e-3)
    same = torch.full((5,), 2.0, dtype=DTYPE)
    assert skewed_mean(same, same, 0.95) == Mean(2.0, 0.0, 4.0)


@pytest.mark.parametrize("seed", [pytest.param(8, marks=pytest.mark.slow), 18])
def test_the_interval_of_a_fold_whose_first_draws_say_too_little(seed):
    """Most draws of |z| have two latents; the first 64 of these seeds have few of the rare others."""
    z = torch.linspace(0, 9, 901, dtype=DTYPE)
    w = torch.linspace(-3, 11, 1401, dtype=DTYPE)
    weight = torch.exp(-0.5 * z**2)
    density = (weight / weight.sum() * torch.exp(-0.5 * ((w[:, None] - z) / 0.3) ** 2)).sum(1)
    density = density / (0.3 * math.sqrt(2 * math.pi))
    density = density / torch.trapezoid(density, w)
    log_p = -0.5 * (w - 0.2) ** 2 - 0.5 * math.log(2 * math.pi)
    truth = float(torch.trapezoid(density * (density.clamp_min(1e-300).log() - log_p), w))
    one = torch.ones(1, dtype=DTYPE)
    q, p = SemiImplicit(JacobianGeometry(torch.abs, 1, 1, like=one), 0.3), MeanFieldGaussian(0.2 * one, one)
    found = kl_interval(q, p, generator=generator(seed))
    assert found.lower < truth < found.upper
    assert found.width < 0.25


@pytest.mark.parametrize("sigma", [0.3, torch.tensor([0.1, 0.2, 0.3], dtype=DTYPE)])
def test_weights_without_latents_are_independent_gaussians(sigma):
    value = torch.tensor([0.1, -0.2, 0.3], dtype=DTYPE)
    q, p = SemiImplicit(ConstantGeometry(value, 0), sigma), MeanFieldGaussian(torch.zeros_like(value), 1 + value)
    same = MeanFieldGaussian(value, q.sigma)
    exact = torch.distributions.kl_divergence(same, p)
    for name, make in ESTIMATORS.items():
        torch.testing.assert_close(make().estimate(q, p, generator=generator()).value, exact, msg=name)
    draw = q.draw(4)
    torch.testing.assert_close(LIVI().log_density(q, draw), same.log_prob(draw.w))
    report = diagnose(q, p, 16, generator())
    assert report.verdict == "trusted"
    assert report.lower < float(exact) < report.upper
