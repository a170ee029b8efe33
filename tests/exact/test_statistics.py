"""Sums over examples: any order, any batches, merged or forgotten, and bad input that leaves them as they were."""

from __future__ import annotations

import copy

import pytest
import torch

from bayeshnet.exact import BayesianLinearHead, GaussianClassesHead
from bayeshnet.inference import load_checkpoint, save_checkpoint

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=GENERATOR)
Y = torch.randint(4, (60,), generator=GENERATOR) * 10 - 10
NEW = torch.randn(7, 5, generator=GENERATOR)
HEADS = {"linear": lambda: BayesianLinearHead(5), "gaussian": lambda: GaussianClassesHead(5)}
each_head = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)


def close(a, b, tolerance=1e-10):
    assert torch.equal(a.labels, b.labels)
    for name in ("gram", "cross", "square"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(a.log_probs(NEW), b.log_probs(NEW), rtol=1e-8, atol=1e-8)


@each_head
def test_a_stream_in_any_order_gives_what_one_batch_gives(make):
    whole = make().update(X, Y)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    stream = make()
    for part in order.split(7):
        stream.update(X[part], Y[part])
    close(whole, stream)
    assert whole.labels.tolist() == [-10, 0, 10, 20]
    assert whole.count == 60


@each_head
def test_sums_are_those_of_the_examples(make):
    head = make().update(X, Y)
    wide = torch.cat([X, torch.ones(60, 1)], 1).double()
    one = (Y[:, None] == torch.tensor([-10, 0, 10, 20])).double()
    torch.testing.assert_close(head.gram, wide.T @ wide)
    torch.testing.assert_close(head.cross, wide.T @ one)
    torch.testing.assert_close(head.square, one.sum(0))


@each_head
def test_two_heads_add(make):
    first, second = make().update(X[Y < 5], Y[Y < 5]), make().update(X[Y > -5], Y[Y > -5])
    before = copy.deepcopy(first)
    both = make().update(torch.cat([X[Y < 5], X[Y > -5]]), torch.cat([Y[Y < 5], Y[Y > -5]]))
    close(first.merge(second), both)
    close(second.merge(first), both)
    assert torch.equal(first.gram, before.gram)
    with pytest.raises(ValueError, match="other: expected a head with the settings"):
        first.merge(type(first)(6))
    with pytest.raises(TypeError, match="other: expected a"):
        first.merge(torch.nn.Linear(2, 2))


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


@each_head
def test_bad_input_is_refused_and_nothing_is_lost(make):
    head = make().update(X, Y)
    before = copy.deepcopy(head)
    bad = X.clone()
    bad[3, 2] = float("nan")
    for features, y, message in [
        (bad, Y, "features: expected finite features"),
        (X[:, :4], Y, "features: expected a tensor of shape"),
        (X, Y[:5], "y: expected a tensor of shape"),
        (X, Y.float(), "y: expected classes, as integers"),
        (X.long(), Y, "features: expected floating features"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            head.update(features, y)
    close(head, before, 0)
    with pytest.raises(ValueError, match="features: expected finite features"):
        head.log_probs(bad)


@each_head
def test_singular_features_and_classes_of_one_example(make):
    """Two equal features, one of zeros, fewer examples than features, and a class that came once."""
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(5)).double()
    x[:, 1], x[:, 2] = x[:, 0], 0.0
    y = torch.arange(40) % 2
    y[-1] = 2
    x[-1] += 5
    x[y == 1, 0:2] += 4
    head = (BayesianLinearHead(50) if isinstance(make(), BayesianLinearHead) else GaussianClassesHead(50)).update(x, y)
    probs = head.log_probs(x)
    assert bool(probs.isfinite().all())
    assert head.labels[probs.argmax(1)].tolist() == y.tolist()


@each_head
def test_one_class_has_probability_one(make):
    head = make().update(X[:5], torch.full((5,), 3))
    torch.testing.assert_close(head.log_probs(NEW), torch.zeros(7, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="features: expected a head that has learned"):
        make().log_probs(NEW)


@each_head
def test_heads_are_saved_and_loaded_and_keep_their_precision(make, tmp_path):
    head = make().update(X, Y)
    save_checkpoint(tmp_path / "head", head)
    loaded = make()
    load_checkpoint(tmp_path / "head", loaded)
    close(loaded, head, 0)
    assert loaded.to(torch.float32).gram.dtype == torch.float64
    close(loaded, head, 0)
    assert head.num_bytes == 8 * (36 + 24 + 4 + 4 + len(getattr(head, "tally", ())) + len(getattr(head, "chosen", ())))
