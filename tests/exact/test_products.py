"""Products of features in single precision, added in double precision, against those in double precision."""

from __future__ import annotations

import torch

from bayeshnet.exact import BayesianLinearHead, GaussianClassesHead, linear
from bayeshnet.exact.products import is_rough
from bayeshnet.speed import using

X = torch.randn(3000, 600, generator=torch.Generator().manual_seed(0)) + 0.5
Y = torch.arange(3000) % 3


def test_products_of_many_features_agree_to_the_digits_of_the_features():
    rough, precise = BayesianLinearHead(600), BayesianLinearHead(600).update(X, Y)
    with using(precise_features=100):
        rough.update(X[:1500], Y[:1500]).update(X[1500:], Y[1500:])
    assert not torch.equal(rough.gram, precise.gram)
    torch.testing.assert_close(rough.gram, precise.gram, rtol=1e-6, atol=1e-3)
    assert torch.equal(rough.gram, rough.gram.T)
    assert rough.count == 3000
    torch.testing.assert_close(rough.cross, precise.cross, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(rough.predict(X[:50]).mean, precise.predict(X[:50]).mean, rtol=1e-3, atol=1e-5)


def test_products_are_precise_where_torch_does_not_say_how_it_multiplies(monkeypatch):
    """It raises where its newer setting of the precision was used."""

    def refuse():
        raise RuntimeError("mix of the legacy and new APIs")

    with using(precise_features=100):
        assert is_rough(X)
        monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
        assert not is_rough(X)


def test_features_of_more_digits_and_heads_that_forget_are_precise():
    with using(precise_features=100):
        for cls, x, settings in [(BayesianLinearHead, X.double(), {}), (GaussianClassesHead, X, {"forgetting": 0.999})]:
            found = cls(600, **settings).update(x[:300], Y[:300])
            with using(precise_features=1000):
                right = cls(600, **settings).update(x[:300], Y[:300])
            assert torch.equal(found.gram, right.gram)


def test_the_ridge_of_many_features_is_that_of_a_search_from_far(monkeypatch):
    """A search that starts where a part of the features has its maximum ends where one from everywhere does."""
    target = torch.stack([X[:, :40].sum(1), X[:, 30:90].sum(1)], dim=1).double() + torch.randn(3000, 2).double()
    far = BayesianLinearHead(600, 2).update(X.double(), target)
    monkeypatch.setattr(linear, "_WIDE", 100)
    monkeypatch.setattr(linear, "_PART", 50)
    near = BayesianLinearHead(600, 2).update(X.double(), target)
    assert abs(near.fit().ridge / far.fit().ridge - 1) < 2e-3


def test_errors_are_relative_to_the_scatter_of_the_features():
    """Far from zero products of single precision alone would lose all digits of the scatter."""
    far = 1000 + X
    precise = GaussianClassesHead(600).update(far, Y)
    with using(precise_features=100), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = GaussianClassesHead(600).update(far, Y)
    assert rough.count == 3000
    right, found = (head.log_probs(far[:50]) for head in (precise, rough))
    torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3)
