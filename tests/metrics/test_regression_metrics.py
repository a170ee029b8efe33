from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.stats import norm, wasserstein_distance
from sklearn.metrics import mean_squared_error
from torchmetrics.functional.regression import continuous_ranked_probability_score

from bayeshnet.metrics import (
    coverage,
    crps,
    gaussian_coverage,
    gaussian_crps,
    gaussian_log_likelihood,
    median_distance,
    mmd,
    mse,
    rmse,
    sample_log_likelihood,
    sliced_wasserstein,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_squared_errors_against_scikit_learn():
    mean, y = normal(20, 3), normal(20, 3, seed=1)
    assert float(mse(mean, y)) == pytest.approx(mean_squared_error(y, mean))
    assert float(rmse(mean, y)) == pytest.approx(math.sqrt(mean_squared_error(y, mean)))
    with pytest.raises(ValueError, match="y"):
        mse(mean, y[:, :1])


def test_gaussian_log_likelihood_against_scipy():
    mean, y, std = normal(20, 3), normal(20, 3, seed=1), normal(20, 3, seed=2).exp()
    expected = norm.logpdf(y, mean, std).sum(1).mean()
    assert float(gaussian_log_likelihood(mean, std, y)) == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_gaussian_coverage_against_scipy(level):
    mean, y, std = normal(50, 3), normal(50, 3, seed=1), normal(50, 3, seed=2).exp()
    low, high = norm.interval(level, mean, std)
    expected = ((low <= y.numpy()) & (y.numpy() <= high)).mean()
    assert float(gaussian_coverage(mean, std, y, level)) == pytest.approx(expected)
    assert 0 < expected < 1


@pytest.mark.parametrize("noise", [0.3, "tensor"])
def test_sample_log_likelihood_is_that_of_the_mixture(noise):
    samples, y = normal(11, 20, 2), normal(20, 2, seed=1)
    noise = normal(20, 2, seed=3).exp() if noise == "tensor" else noise
    density = norm.pdf(y.numpy(), samples.numpy(), np.asarray(noise)).prod(-1).mean(0)
    assert float(sample_log_likelihood(samples, noise, y)) == pytest.approx(np.log(density).mean())


def test_sample_log_likelihood_far_away_does_not_underflow():
    value = float(sample_log_likelihood(torch.zeros(5, 1, 1), 0.01, torch.full((1, 1), 10.0)))
    assert value == pytest.approx(norm.logpdf(10, 0, 0.01), rel=1e-5)


def test_coverage_of_calibrated_and_of_narrow_samples():
    y = normal(4000, 1)
    samples = normal(400, 4000, 1, seed=1)
    for level in (0.5, 0.9):
        assert float(coverage(samples, y, level)) == pytest.approx(level, abs=0.02)
        inside = norm.cdf(norm.ppf((1 + level) / 2) / 2) * 2 - 1
        assert float(coverage(samples / 2, y, level)) == pytest.approx(inside, abs=0.03)


def test_crps_against_torchmetrics_and_a_double_loop():
    samples, y = normal(9, 13, 2), normal(13, 2, seed=1)
    flat = samples.flatten(1).T
    assert float(crps(samples, y)) == pytest.approx(float(continuous_ranked_probability_score(flat, y.flatten())))
    by_hand = [
        (row - t).abs().mean() - (row[:, None] - row).abs().mean() / 2 for row, t in zip(flat, y.flatten(), strict=True)
    ]
    assert float(crps(samples, y)) == pytest.approx(float(sum(by_hand) / len(by_hand)))


def test_crps_of_many_samples_is_the_closed_form_and_that_is_the_integral():
    y, mean, std = torch.tensor([[0.7]]).double(), torch.tensor([[0.2]]).double(), torch.tensor([[1.5]]).double()
    grid = np.linspace(-20, 20, 200_001)
    integral = trapezoid((norm.cdf(grid, 0.2, 1.5) - (grid >= 0.7)) ** 2, grid)
    assert float(gaussian_crps(mean, std, y)) == pytest.approx(integral, rel=1e-4)
    samples = mean + std * normal(200_000, 1, 1)
    assert float(crps(samples, y)) == pytest.approx(integral, rel=1e-2)


def test_shapes_of_samples_are_checked():
    with pytest.raises(ValueError, match="Samples come first"):
        crps(torch.zeros(3, 4, 1), torch.zeros(3, 1))
    with pytest.raises(TypeError, match="samples"):
        coverage(torch.zeros(3, 4, 1).long(), torch.zeros(4, 1))


@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd_against_loops(unbiased):
    x, y = normal(6, 3), 1 + normal(4, 3, seed=1)

    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / (2 * 0.8**2))

    def within(z):
        pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if not unbiased or i != j]
        return sum(k(z[i], z[j]) for i, j in pairs) / len(pairs)

    across = sum(k(a, b) for a in x for b in y) / 24
    assert float(mmd(x, y, 0.8, unbiased=unbiased)) == pytest.approx(within(x) + within(y) - 2 * across)


def test_mmd_of_gaussians_is_the_closed_form():
    dim, width, shift = 2, 1.3, 0.9
    x, y = normal(1500, dim), normal(1500, dim, seed=1)
    x, y = x - x.mean(0), y - y.mean(0) + shift
    scale = width**2 / (width**2 + 2)
    expected = 2 * scale ** (dim / 2) * (1 - math.exp(-dim * shift**2 / (2 * (width**2 + 2))))
    assert float(mmd(x, y, width)) == pytest.approx(expected, rel=0.03)
    assert abs(float(mmd(x, normal(1500, dim, seed=2), width))) < 3e-3


def test_the_default_width_is_the_median_distance():
    x, y = normal(5, 3), normal(6, 3, seed=1)
    points = torch.cat([x, y])
    distances = sorted(float((points[i] - points[j]).norm()) for i in range(11) for j in range(i))
    width = median_distance(x, y)
    assert float(width) == pytest.approx(distances[27])
    assert float(mmd(x, y)) == pytest.approx(float(mmd(x, y, width)))


@pytest.mark.parametrize(("left", "right"), [(30, 30), (30, 17), (6, 9)])
def test_wasserstein_in_one_dimension_against_scipy(left, right):
    x, y = normal(left, 1), 0.5 + 2 * normal(right, 1, seed=1)
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    assert float(sliced_wasserstein(x, y, order=1)) == pytest.approx(expected)


def test_sliced_wasserstein_of_shifted_gaussians():
    x = normal(100, 3)
    shift = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    # Of a pure shift the distance along a direction is its component: mean square |shift|^2 / D.
    value = float(sliced_wasserstein(x, x + shift, 5_000, generator=torch.Generator().manual_seed(0)))
    assert value == pytest.approx(5 / math.sqrt(3), rel=0.03)
    again = float(sliced_wasserstein(x, x + shift, 5_000, generator=torch.Generator().manual_seed(0)))
    assert value == again


def test_distances_check_their_input():
    with pytest.raises(ValueError, match="y"):
        mmd(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least 2"):
        mmd(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="order"):
        sliced_wasserstein(torch.zeros(3, 2), torch.zeros(3, 2), order=0.5)


@pytest.fixture(scope="module")
def record():
    """A prediction of one target, of the library's own making, and targets."""
    from torch import nn

    from bayeshnet.guides import Gaussian, MeanFieldGuide
    from bayeshnet.inference import Predictive

    torch.manual_seed(0)
    net = nn.Linear(1, 1)
    predict = Predictive(MeanFieldGuide(net), net, Gaussian(0.5), num_samples=30)
    x = normal(40, 1).float()
    return predict(x, keep_samples=True), 3 * x + normal(40, 1, seed=1).float()


@pytest.mark.parametrize("flat", [False, True])
def test_a_prediction_is_scored_as_it_is(record, flat):
    p, y = record
    mean, std, samples, true = (v.detach().double().numpy().reshape(-1) for v in (p.mean, p.std, p.samples, y))
    samples = samples.reshape(30, 40)
    assert (p.mean.shape, p.std.shape, p.samples.shape) == ((40, 1), (40,), (30, 40, 1))
    y = y[:, 0] if flat else y
    assert float(mse(p.mean, y)) == pytest.approx(np.mean((mean - true) ** 2), rel=1e-5)
    assert float(rmse(p.mean, y)) == pytest.approx(np.sqrt(np.mean((mean - true) ** 2)), rel=1e-5)
    assert float(gaussian_log_likelihood(p.mean, p.std, y)) == pytest.approx(
        norm.logpdf(true, mean, std).mean(), rel=1e-5
    )
    z = (true - mean) / std
    scores = std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert float(gaussian_crps(p.mean, p.std, y)) == pytest.approx(scores.mean(), rel=1e-5)
    assert float(gaussian_coverage(p.mean, p.std, y, 0.9)) == pytest.approx(np.mean(np.abs(z) <= norm.ppf(0.95)))
    mixture = norm.pdf(true, samples, 0.5).mean(0)
    assert float(sample_log_likelihood(p.samples, 0.5, y)) == pytest.approx(np.log(mixture).mean(), rel=1e-5)
    noise = torch.full((40,), 0.5)
    assert float(sample_log_likelihood(p.samples, noise, y)) == pytest.approx(np.log(mixture).mean(), rel=1e-5)
    low, high = np.quantile(samples, [0.05, 0.95], axis=0)
    assert float(coverage(p.samples, y, 0.9)) == pytest.approx(np.mean((low <= true) & (true <= high)))
    pairs = np.abs(samples[:, None] - samples[None]).mean((0, 1)) / 2
    assert float(crps(p.samples, y)) == pytest.approx((np.abs(samples - true).mean(0) - pairs).mean(), rel=1e-5)


def test_one_target_needs_no_dimension_of_its_own():
    mean, y, std = normal(20, 1), normal(20, 1, seed=1), normal(20, 1, seed=2).exp()
    expected = norm.logpdf(y, mean, std).mean()
    for a, b, c in ((mean[:, 0], std[:, 0], y[:, 0]), (mean[:, 0], std, y), (mean, std[:, 0], y[:, 0])):
        assert float(gaussian_log_likelihood(a, b, c)) == pytest.approx(expected)
    assert float(gaussian_log_likelihood(mean, 0.5, y)) == pytest.approx(norm.logpdf(y, mean, 0.5).mean())


def test_a_deviation_of_several_targets_is_not_guessed():
    mean, y = normal(3, 3), normal(3, 3, seed=1)
    std = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for metric in (gaussian_log_likelihood, gaussian_crps, gaussian_coverage):
        with pytest.raises(ValueError, match=r"std: .*std\[None\]"):
            metric(mean, std, y)
    expected = norm.logpdf(y, mean, std[None]).sum(1).mean()
    assert float(gaussian_log_likelihood(mean, std[None], y)) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    mean, y = (300 + normal(5000, 1)).to(dtype), (310 + normal(5000, 1, seed=1)).to(dtype)
    exact = (mean.double() - y.double()).square().mean()
    assert mse(mean, y).dtype == torch.float32
    assert float(mse(mean, y)) == pytest.approx(float(exact), rel=1e-5)
    expected = norm.logpdf(y.double(), mean.double(), 2.0).mean()
    assert float(gaussian_log_likelihood(mean, 2.0, y)) == pytest.approx(expected, rel=1e-5)


def test_coverage_of_more_numbers_than_torch_sorts_at_once():
    samples = torch.linspace(0, 1, 101)[:, None, None].expand(101, 170_000, 1)
    y = torch.full((170_000, 1), 0.5)
    y[:17_000] = 2.0
    assert float(coverage(samples, y, 0.9)) == pytest.approx(0.9)


def test_wasserstein_of_a_high_order_is_the_largest_shift():
    x = torch.tensor([[0.0], [1.0]])
    y = x + torch.tensor([[0.25], [0.5]])
    assert float(sliced_wasserstein(x, y, order=1e6)) == pytest.approx(0.5, rel=1e-4)


def test_equal_samples_need_a_width():
    with pytest.raises(ValueError, match="width"):
        mmd(torch.zeros(3, 2), torch.zeros(3, 2))
    assert float(mmd(torch.zeros(3, 2), torch.zeros(3, 2), 1.0)) == 0
