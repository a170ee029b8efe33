"""Sums over examples: the contract of both heads, forgetting, and the memory that they take."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.exact import BayesianLinearHead, GaussianClassesHead
from bayeshnet.testing import HeadContract

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=GENERATOR)
Y = torch.randint(4, (60,), generator=GENERATOR) * 10 - 10


class TestBayesianLinearHead(HeadContract):
    def make(self, num_features):
        return BayesianLinearHead(num_features)


class TestGaussianClassesHead(HeadContract):
    def make(self, num_features):
        return GaussianClassesHead(num_features)


@pytest.mark.parametrize("cls", [BayesianLinearHead, GaussianClassesHead])
def test_memory_is_counted(cls):
    head = cls(5).update(X, Y)
    assert head.num_bytes == 8 * (36 + 24 + 4 + 4 + len(getattr(head, "tally", ())) + len(getattr(head, "chosen", ())))


def test_forgetting_weighs_examples_by_their_age():
    weights = 0.9 ** torch.arange(59, -1, -1).double()
    wide = torch.cat([X, torch.ones(60, 1)], 1).double()
    right = (wide * weights[:, None]).T @ wide
    for size in (60, 7, 1):
        head = BayesianLinearHead(5, forgetting=0.9)
        for x, y in zip(X.split(size), Y.split(size), strict=True):
            head.update(x, y)
        torch.testing.assert_close(head.gram, right)
        assert head.count == pytest.approx(float(weights.sum()))
    halved = BayesianLinearHead(5).update(X, Y).forget(0.5)
    torch.testing.assert_close(halved.cross, BayesianLinearHead(5).update(X, Y).cross / 2)


def test_forgetting_follows_a_drift():
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(4)).double()
    y = torch.cat([x[:1000], -x[1000:]])
    fixed, free = BayesianLinearHead(1, 1).update(x, y), BayesianLinearHead(1, 1, forgetting=0.98).update(x, y)
    one = torch.ones(1, 1)
    assert abs(float(fixed.predict(one).mean)) < 0.1
    assert float(free.predict(one).mean) == pytest.approx(-1, abs=0.05)
