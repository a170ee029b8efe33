"""Refusing inputs of no known task at a rate that holds for new inputs, whatever the scores."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.continual import Abstention


def test_thresholds_are_order_statistics_of_each_tasks_own_scores():
    rule = Abstention.calibrate([torch.arange(99.0), -torch.arange(39.0)], 0.05)
    assert rule.thresholds.tolist() == [4.0, -37.0]  # the 5th of 99, the 2nd of 39
    scores = torch.tensor([[3.9, -38.0], [4.0, -38.0], [0.0, 5.0]])
    assert rule.refused(scores).tolist() == [True, False, False]
    torch.testing.assert_close(rule.ood_score(scores), torch.tensor([0.1, 0.0, -42.0]))


def test_few_examples_cannot_promise_a_small_rate():
    rule = Abstention.calibrate([torch.randn(10)], 0.05)
    assert rule.thresholds.item() == -torch.inf
    assert not rule.refused(torch.full((1, 1), -1e9)).any()


def test_false_alarms_of_new_inputs_stay_below_the_rate():
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(300):
        scores = torch.randn(79, generator=generator, dtype=torch.float64).exp()
        new = torch.randn(2000, 1, generator=generator, dtype=torch.float64).exp()
        rates.append(float(Abstention.calibrate([scores], 0.1).refused(new).double().mean()))
    # k = 8 of n = 79: a new score falls below the 8th smallest with probability 8 / 80, less what is equal to it.
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.006)


def test_bad_rates_and_shapes_are_named():
    with pytest.raises(ValueError, match="false_alarm"):
        Abstention.calibrate([torch.randn(10)], 1.0)
    with pytest.raises(ValueError, match="false_alarm"):
        Abstention.calibrate([], 0.1)
    with pytest.raises(ValueError, match=r"scores\[1\]"):
        Abstention.calibrate([torch.randn(10), torch.randn(10, 3)], 0.1)


def test_the_former_name_of_the_score_warns():
    rule, scores = Abstention.calibrate([torch.arange(99.0)]), torch.tensor([[3.0], [9.0]])
    with pytest.warns(DeprecationWarning, match=r"use Abstention\.ood_score"):
        assert torch.equal(rule.foreignness(scores), rule.ood_score(scores))
