"""The classifier test beside the best classifier of known Gaussians, and its p-values where nothing differs."""

import math

import pytest
import torch
from scipy.stats import fisher_exact
from torch.distributions import Chi2, Normal

from bayeshnet.metrics import classifier_test
from bayeshnet.metrics.two_samples import _fisher

DTYPE = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dimensions", [1, 3, 10])
@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
def test_shifted_gaussians_are_told_apart_as_well_as_by_the_best_classifier(dimensions, distance):
    x, y = torch.randn(2, 1000, dimensions, generator=generator(dimensions), dtype=DTYPE)
    found = classifier_test(x, y + distance / math.sqrt(dimensions), generator())
    best = float(Normal(0, 1).cdf(torch.tensor(distance / 2)))
    assert found.accuracy == pytest.approx(best, abs=0.03)
    assert found.p_value < 1e-6


@pytest.mark.parametrize("dimensions", [1, 4, 50])
def test_wider_gaussians_are_told_apart_as_well_as_by_the_best_classifier(dimensions):
    wide = 2.0 if dimensions < 10 else 1.2
    x, y = torch.randn(2, 1000, dimensions, generator=generator(dimensions), dtype=DTYPE)
    found = classifier_test(x, wide * y, generator())
    # The best classifier compares |x|^2 with the point at which both densities are equal.
    edge = torch.tensor(dimensions * 2 * math.log(wide) / (1 - wide**-2), dtype=DTYPE)
    chi = torch.special.gammainc(torch.tensor(dimensions / 2, dtype=DTYPE), torch.stack([edge, edge / wide**2]) / 2)
    best = float(0.5 * (chi[0] + 1 - chi[1]))
    assert found.accuracy == pytest.approx(best, abs=0.035)
    assert float(Chi2(float(dimensions)).mean) == dimensions


@pytest.mark.parametrize("share", [1e-5, 5e-6])
def test_a_wider_spread_across_a_line_is_told_as_well_as_along_it(share):
    """Both unknowns are nearly equal; what tells the sets apart is the spread of their small difference."""
    line, across = torch.randn(2, 2, 1000, generator=generator(), dtype=DTYPE)
    across[1] *= 2
    x, y = torch.stack([line + share * across, line - share * across], -1)
    edge = math.sqrt(2 * math.log(2) / (1 - 0.25))  # at which both densities of the difference are equal
    within = torch.erf(torch.tensor([edge, edge / 2], dtype=DTYPE) / math.sqrt(2))
    best = float(0.5 * (within[0] + 1 - within[1]))
    assert classifier_test(x, y, generator()).accuracy == pytest.approx(best, abs=0.035)


def test_opposite_correlations_are_told_apart():
    x, y = torch.randn(2, 1000, 2, generator=generator(), dtype=DTYPE)
    x[:, 1], y[:, 1] = 0.9 * x[:, 0] + 0.4 * x[:, 1], -0.9 * y[:, 0] + 0.4 * y[:, 1]
    assert classifier_test(x, y, generator()).accuracy > 0.85


def test_p_values_under_the_null_are_not_smaller_than_they_may_be():
    noise, small = generator(5), []
    for _ in range(200):
        x, y = torch.randn(2, 64, 30, generator=noise, dtype=DTYPE)
        small.append(classifier_test(x, y, noise).p_value < 0.1)
    assert sum(small) <= 200 * 0.1 + 3 * math.sqrt(200 * 0.1 * 0.9)


def test_the_tail_is_that_of_fishers_exact_test():
    for hits, found, positives, total in [(10, 14, 16, 32), (16, 16, 16, 32), (0, 5, 16, 32), (9, 9, 12, 20)]:
        table = [[hits, found - hits], [positives - hits, total - found - positives + hits]]
        assert _fisher(hits, found, positives, total) == pytest.approx(fisher_exact(table, "greater")[1])


def test_equal_and_constant_samples_are_not_told_apart():
    point = torch.ones(20, 3)
    assert classifier_test(point, point).p_value > 0.5
    x = torch.randn(40, 3, generator=generator())
    assert classifier_test(x, x.clone(), generator()).p_value > 0.01


def test_bad_samples_are_refused():
    x = torch.randn(20, 3)
    with pytest.raises(ValueError, match=r"y: expected samples \(S, D\) of the same unknowns, S > 7"):
        classifier_test(x, torch.randn(20, 4))
    with pytest.raises(ValueError, match="x: expected"):
        classifier_test(x[:4], x)


def test_unknowns_that_are_constant_change_nothing_however_many_they_are():
    """More of them than draws: the main directions are then found among the draws."""
    x, y = torch.randn(2, 80, 3, generator=generator(), dtype=DTYPE)
    y = y @ torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.5, 0.0], [0.3, 0.0, 2.0]], dtype=DTYPE) + 0.3
    plain = classifier_test(x, y, generator())
    wide = classifier_test(*(torch.nn.functional.pad(part, (0, 400), value=1.5) for part in (x, y)), generator())
    assert (wide.accuracy, wide.p_value) == (pytest.approx(plain.accuracy), pytest.approx(plain.p_value))
    assert plain.accuracy > 0.6
