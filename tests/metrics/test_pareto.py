"""Pareto-smoothed importance weights: fits of known tails, weights and sizes in closed form, and refusals."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bayeshnet.metrics import fit_generalized_pareto, pareto_smoothing


@pytest.mark.parametrize("k", [-0.4, 0.0001, 0.3, 0.7, 1.4])
@pytest.mark.parametrize("scale", [1e-6, 3.0])
def test_shape_and_scale_are_those_of_scipys_draws(k, scale):
    x = stats.genpareto.rvs(k, scale=scale, size=4000, random_state=np.random.default_rng(0))
    found, unit = fit_generalized_pareto(torch.tensor(x))
    likely, _, likely_scale = stats.genpareto.fit(x / scale, floc=0)
    error = (1 + abs(k)) / 4000**0.5
    assert abs(found - k) < 4 * error
    assert abs(found - likely) < 0.3 * error  # the maximum of the likelihood
    assert unit / scale == pytest.approx(likely_scale, rel=0.02)


@pytest.mark.parametrize(("narrow", "k"), [(0.9, 0.0), (0.6, 0.64), (0.4, 0.84)])
def test_k_hat_is_the_tail_of_a_gaussian_guide_that_is_too_narrow(narrow, k):
    """Weights of N(0, 1) under draws of N(0, s^2) have a tail of shape 1 - s^2, up to slowly varying factors."""
    z = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = pareto_smoothing(-0.5 * (narrow * z) ** 2 + 0.5 * z**2)
    assert found.k_hat == pytest.approx(max(k, 0.19), abs=0.15)
    assert found.log_mean == pytest.approx(-math.log(narrow), abs=0.5 if narrow < 0.5 else 0.05)


def test_a_guide_that_is_wide_has_light_tails_and_its_effective_size():
    z = torch.randn(50_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = 1.5
    found = pareto_smoothing(-0.5 * (scale * z) ** 2 + 0.5 * z**2)
    assert found.k_hat < 0.1
    second = scale**2 / math.sqrt(2 * scale**2 - 1)  # E w^2 / (E w)^2
    assert found.effective / 50_000 == pytest.approx(1 / second, rel=0.02)


def test_smoothing_replaces_the_tail_by_expected_order_statistics():
    u = torch.rand(2000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratios = -0.8 * u.log()  # weights u^-0.8, an exact Pareto tail
    found = pareto_smoothing(ratios + 700.0)  # no scale of the weights overflows
    assert found.k_hat == pytest.approx(0.8, abs=0.15)
    order = ratios.argsort()
    body, tail = order[: 2000 - 135], order[2000 - 135 :]
    shift = found.log_weights[body] - ratios[body]
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    weights = (found.log_weights[tail] - shift[0]).exp()
    cut = ratios[body[-1]].exp()
    k, scale = fit_generalized_pareto(ratios[tail].exp() - cut)
    k = (135 * k + 5) / 145
    part = (torch.arange(1, 136, dtype=torch.float64) - 0.5) / 135
    expected = cut + torch.tensor(stats.genpareto.ppf(part, k, scale=scale))
    torch.testing.assert_close(weights, expected.clamp_max(ratios.max().exp()))
    assert float(found.log_weights.exp().sum()) == pytest.approx(1.0)


def test_equal_weights_and_weights_of_zero():
    ratios = torch.cat([torch.zeros(30), torch.full((70,), -math.inf)])
    found = pareto_smoothing(ratios)
    assert found.k_hat == -1.0
    assert found.effective == pytest.approx(30)
    assert found.log_mean == pytest.approx(math.log(0.3))
    one = pareto_smoothing(torch.cat([torch.zeros(1), torch.full((99,), -800.0)]))
    assert one.k_hat > 0.7
    assert 1 <= one.effective < 2


@pytest.mark.parametrize("wrong", [torch.zeros(24), torch.full((40,), -math.inf), torch.full((40,), math.inf)])
def test_what_are_no_weights_is_refused(wrong):
    with pytest.raises(ValueError, match="log_ratios: expected"):
        pareto_smoothing(wrong)
    with pytest.raises(ValueError, match="exceedances: expected"):
        fit_generalized_pareto(-torch.rand(10))
