"""The NLL of several labels together, against sums over all pairs and all choices within a pair."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from bayeshnet.metrics import joint_nll, nll


def draws(num=6, inputs=5, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    samples = (2 * torch.randn(num, inputs, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    return samples, torch.randint(classes, (inputs,), generator=generator)


def by_enumeration(samples, y, size):
    """Mean over pairs of different inputs, and over all choices of ``size`` of the two, of the joint NLL."""
    p = samples.numpy()[:, np.arange(len(y)), y.numpy()]
    groups = [
        choice for i, j in itertools.combinations(range(len(y)), 2) for choice in itertools.product((i, j), repeat=size)
    ]
    return float(np.mean([-math.log(np.mean(np.prod(p[:, list(group)], axis=1))) for group in groups]))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_all_pairs_against_enumeration(size):
    samples, y = draws()
    assert float(joint_nll(samples, y, size)) == pytest.approx(by_enumeration(samples, y, size), rel=1e-12)


def test_one_label_is_the_usual_nll_and_one_draw_is_a_product():
    samples, y = draws()
    single = nll(samples.mean(0), y)
    assert float(joint_nll(samples, y, 1)) == pytest.approx(float(single), rel=1e-12)
    assert float(joint_nll(samples[:1], y, 10)) == pytest.approx(10 * float(nll(samples[0], y)), rel=1e-12)


def test_pairs_at_random_estimate_the_mean_over_all_pairs():
    samples, y = draws(inputs=60)
    exact = float(joint_nll(samples, y, 5, num_pairs=60 * 59 // 2))
    few = [
        float(joint_nll(samples, y, 5, num_pairs=500, generator=torch.Generator().manual_seed(seed)))
        for seed in range(20)
    ]
    error = np.std(few) / math.sqrt(len(few))
    assert abs(np.mean(few) - exact) < 4 * error
    assert error < 0.1


def test_agreement_across_inputs_counts_although_single_labels_are_the_same():
    """Two networks that disagree everywhere, against draws that pick one of them for each input anew."""
    one = torch.tensor([0.9, 0.1], dtype=torch.float64).expand(40, 2)
    together = torch.stack([one, one.flip(1)])
    pick = torch.rand(200, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    apart = torch.where(pick.unsqueeze(-1), one, one.flip(1))
    y = torch.zeros(40, dtype=torch.long)
    assert float(joint_nll(together, y, 1)) == pytest.approx(float(joint_nll(apart, y, 1)), abs=0.03)
    assert float(joint_nll(together, y)) == pytest.approx(-math.log(0.5 * (0.9**10 + 0.1**10)), rel=1e-9)
    assert float(joint_nll(apart, y)) > float(joint_nll(together, y)) + 0.5


def test_a_single_example_and_impossible_labels():
    samples, y = draws(inputs=1)
    expected = -math.log(float(samples[:, 0, y[0]].pow(10).mean()))
    assert float(joint_nll(samples, y)) == pytest.approx(expected, rel=1e-12)
    never = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    assert float(joint_nll(never, torch.tensor([1]), 3)) == pytest.approx(-3 * math.log(1e-12))


def test_labels_and_probabilities_must_fit_together():
    samples, y = draws()
    with pytest.raises(ValueError, match="samples: expected class probabilities under S weight vectors"):
        joint_nll(samples.mean(0), y)
    with pytest.raises(ValueError, match="y: expected class indices of shape"):
        joint_nll(samples, y[:3])
