"""Distances at the ends of their range: no samples, two samples, constant unknowns, high powers."""

import pytest
import torch

from bayeshnet.metrics import compare_samples, mmd, sliced_wasserstein


@pytest.mark.parametrize("order", [1.0, 2.0, 200.0])
def test_the_distance_counts_how_many_samples_are_moved(order):
    """Half of the samples move by 0.001, the other half stay: ``(0.001^p / 2)^(1/p)``, whatever underflows."""
    x = torch.arange(8.0)[:, None]
    y = x + torch.tensor([0.0, 1e-3])[:, None].repeat(4, 1)
    moved = ((y - x).abs().max()).item()
    assert sliced_wasserstein(x, y, order=order).item() == pytest.approx(moved * 0.5 ** (1 / order), rel=5e-4)


@pytest.mark.parametrize(("unbiased", "least"), [(True, 2), (False, 1)])
def test_the_least_number_of_samples(unbiased, least):
    x = torch.zeros(least, 2)
    assert mmd(x, x + 1, 1.0, unbiased=unbiased).isfinite()
    with pytest.raises(ValueError, match=r"x( and y)?: expected"):
        mmd(x[:-1], x + 1, 1.0, unbiased=unbiased)


def test_one_constant_unknown_is_enough_to_refuse():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    constant = x.clone()
    constant[:, 1] = 4.0
    with pytest.raises(ValueError, match="reference: expected unknowns that vary"):
        compare_samples(x, constant)
    assert compare_samples(constant, x).std_ratio[0] == 0.0


def test_both_have_the_same_unknowns_and_two_samples_at_least():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert compare_samples(x, x[:2]).std_ratio[0] > 0
    for wrong in (x[:, :2], x[:1], x[:, 0]):
        with pytest.raises(ValueError, match="samples: expected samples of the same unknowns"):
            compare_samples(wrong, x)
    with pytest.raises(ValueError, match="reference: expected samples of the same unknowns"):
        compare_samples(x, x[:1])
