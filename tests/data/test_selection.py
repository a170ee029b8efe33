from __future__ import annotations

import numpy as np
import pytest
import torch

from bayeshnet.data.selection import as_inputs, as_labels, as_values, held_out, limited, stratified
from bayeshnet.tasks import Split


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [0, 1, 7, 20, 33, 60])
def test_stratified_takes_exactly_the_count_and_keeps_shares(count):
    y = torch.tensor([0] * 30 + [7] * 20 + [3] * 10)[torch.randperm(60, generator=generator())]
    mask = stratified(y, count, generator(1))
    assert int(mask.sum()) == count
    for label, size in ((0, 30), (7, 20), (3, 10)):
        assert abs(int(mask[y == label].sum()) - size * count / 60) < 1


def test_stratified_choice_is_uniform_within_a_class_and_follows_the_seed():
    y = torch.zeros(10, dtype=torch.int64)
    hits = sum(stratified(y, 3, generator(s)).double() for s in range(2000)) / 2000
    assert torch.allclose(hits, torch.full((10,), 0.3, dtype=torch.float64), atol=0.04)
    assert torch.equal(stratified(y, 3, generator(5)), stratified(y, 3, generator(5)))


def test_held_out_parts_are_disjoint_and_complete():
    split = Split(torch.arange(40.0)[:, None], torch.arange(40) % 4)
    rest, held = held_out(split, 0.25, seed=3)
    assert torch.equal(torch.cat([rest.x, held.x]).sort(0).values, split.x)
    assert held.y.bincount().tolist() == [3, 3, 2, 2] or sorted(held.y.bincount().tolist()) == [2, 2, 3, 3]
    assert torch.equal(held.x[:, 0].long() % 4, held.y)


def test_held_out_of_regression_is_a_plain_share():
    rest, held = held_out(Split(torch.rand(10, 2), torch.rand(10, 1)), 0.31, seed=0)
    assert (len(rest), len(held)) == (6, 4)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_held_out_refuses_to_leave_a_side_empty(fraction):
    with pytest.raises(ValueError, match="fraction"):
        held_out(Split(torch.rand(4, 2), torch.arange(4)), fraction, seed=0)


def test_limited():
    split = Split(torch.rand(9, 2), torch.arange(9) % 3)
    assert limited(split, None, 0) is split
    assert limited(split, 10, 0) is split
    assert limited(split, 6, 0).y.bincount().tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="max_train"):
        limited(split, 0, 0, "max_train")


def test_conversions():
    assert as_inputs(np.array([0, 51], dtype=np.uint8)).tolist() == pytest.approx([0.0, 0.2])
    assert as_inputs([[1, 2]]).dtype == torch.float32
    assert as_inputs(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64
    assert as_labels(np.array([1.0, 2.0])).tolist() == [1, 2]
    assert as_values([1, 2]).shape == (2, 1)
    with pytest.raises(ValueError, match="whole numbers"):
        as_labels([0.5])
    with pytest.raises(ValueError, match="one-hot"):
        as_labels([[0, 1]])
    with pytest.raises(ValueError, match="targets"):
        as_values(torch.zeros(2, 2, 2))
    with pytest.raises(TypeError, match="array of numbers"):
        as_inputs("abc")
    with pytest.raises(ValueError, match="examples"):
        as_inputs(3.0)
