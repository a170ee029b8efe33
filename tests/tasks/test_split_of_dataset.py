"""Splits whose examples stay in a data set: the same as tensors, read when they are needed, errors by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from bayeshnet.tasks import DatasetInputs, Split, Task, TaskStream

X, Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Counted(Dataset):
    """Pairs of arrays; counts how often each is read, and fails at some numbers."""

    def __init__(self, broken=(), other_shape=(), several=False):
        self.reads = [0] * len(X)
        self.broken, self.other_shape, self.several = broken, other_shape, several

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        self.reads[i] += 1
        if i in self.broken:
            raise OSError("the disk is gone")
        x = X[i, :2] if i in self.other_shape else X[i]
        return ((x, X[i, :1].double()) if self.several else x.numpy()), int(Y[i])


def test_a_split_of_a_data_set_gives_what_its_tensors_give():
    data = Counted()
    split, tensors = Split(data, Y), Split(X, Y)
    assert (len(split), split.input_shape, split.in_memory) == (12, (3,), False)
    for index in (slice(2, 9, 3), torch.tensor([4, 0]), Y == 1, [5], slice(3, 3)):
        assert torch.equal(split.x[index], X[index])
        chosen = split.select(index) if not isinstance(index, slice) or index.stop != 3 else None
        if chosen is not None:
            assert torch.equal(chosen.load().x, tensors.select(index).x)
            assert torch.equal(chosen.y, Y[index])
            assert not chosen.in_memory
    assert torch.equal(split.load().x, X)
    parts = list(split.chunks(5))
    assert [len(part) for part in parts] == [5, 5, 2]
    assert torch.equal(torch.cat([part.x for part in parts]), X)
    assert torch.equal(torch.cat([part.y for part in parts]), Y)
    double = split.to(dtype=torch.float64)
    assert torch.equal(double.x[:], X.double())
    assert next(double.chunks(4)).x.dtype == torch.float64
    assert split.sample(4).in_memory
    assert len(split.sample(4)) == 4
    assert torch.equal(split.sample(4, 1).x, split.sample(4, 1).x)


def test_nothing_is_read_that_is_not_asked_for():
    data = Counted()
    split = Split(data, Y)
    task = Task("a", split, split.select(slice(0, 6)), 3)
    assert sum(data.reads[1:]) == 0
    assert task.test.x[3:5].shape == (2, 3)
    assert data.reads[1:] == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_workers_read_the_same():
    split = Split(Counted(), Y)
    assert torch.equal(torch.cat([part.x for part in split.chunks(5, num_workers=1)]), X)


def test_targets_are_found_where_the_data_set_knows_them_and_read_elsewhere():
    pairs = TensorDataset(X, Y)
    assert torch.equal(Split(pairs).y, Y)
    assert Split(Subset(pairs, [3, 2])).y.tolist() == [0, 2]
    assert torch.equal(Split(ConcatDataset([pairs, pairs])).y, torch.cat([Y, Y]))
    counted = Counted()
    assert torch.equal(Split(counted).y, Y)
    assert counted.reads == [2] + [1] * 11  # the first one also for its shape
    known = Counted()
    known.targets = Y.tolist()
    assert torch.equal(Split(known).y, Y)
    assert sum(known.reads[1:]) == 0
    known.target_transform = lambda y: y
    assert torch.equal(Split(known).y, Y)
    assert known.reads[5] == 1


def test_several_inputs():
    data = Split(Counted(several=True), Y)
    tensors = Split((X, X[:, :1].double()), Y)
    assert data.input_shape == tensors.input_shape == ((3,), (1,))
    for split in (data, tensors):
        x, z = split.select([3, 1]).load().x
        assert torch.equal(x, X[[3, 1]])
        assert torch.equal(z, X[[3, 1], :1].double())
        assert [part.dtype for part in split.to(dtype=torch.float64).select([0]).load().x] == [torch.float64] * 2
    assert repr(tensors) == "Split(x=(tensor(12, 3), tensor(12, 1)), y=tensor(12,))"
    stream = TaskStream([Task("a", data, tensors, 3)])
    assert stream.to(dtype=torch.float64).input_shape == ((3,), (1,))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_example_that_cannot_be_read_is_named(workers):
    split = Split(Counted(broken=[7]), Y)
    message = r"^data, example 7: expected an example that can be read, got OSError: the disk is gone\.$"
    with pytest.raises(ValueError, match=message):
        split.x[7]
    with pytest.raises(ValueError, match=message):
        list(split.chunks(4, workers))
    with pytest.raises(ValueError, match=message):
        Split(Counted(broken=[7]))
    inner = Subset(Counted(broken=[7]), [1, 7])
    with pytest.raises(ValueError, match="data, example 1: expected an example"):
        Split(inner, Y[[1, 7]]).load()


def test_an_input_of_another_shape_is_named_with_its_file():
    data = Counted(other_shape=[5])
    with pytest.raises(ValueError, match=r"data, example 5: expected an input of shape \(3,\).*one of shape \(2,\)"):
        Split(data, Y).load()
    data.samples = [(f"images/{i}.png", 0) for i in range(12)]
    with pytest.raises(ValueError, match=r"data, example 1 \('images/5.png'\): expected an input of shape"):
        Split(Subset(data, [4, 5]), Y[:2]).load()


class Odd(Dataset):
    def __init__(self, value):
        self.value = value

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"image": X[0], "label": 1}, "expected a pair .*DictRows"),
        ((object(), 1), "expected an input that is a tensor.*transform"),
        ((torch.zeros(2, dtype=torch.complex64), 1), "dense tensors of real numbers"),
        ((X[0], "cat"), "targets that are numbers"),
    ],
)
def test_what_is_no_example_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        Split(Odd(value))


@pytest.mark.parametrize("x", [np.zeros((3, 2)), "text", {"a": 1}, [1, 2], (X, "text"), (), 3])
def test_what_is_neither_tensor_nor_data_set_is_refused(x):
    with pytest.raises(TypeError, match="x and y: expected tensors"):
        Split(x, Y)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r"y: expected as many targets as inputs \(12\)"):
        Split(Counted(), Y[:3])
    with pytest.raises(ValueError, match="x: expected several inputs with one row per example"):
        Split((X, X[:3]), Y)
    with pytest.raises(ValueError, match="at least one example"):
        DatasetInputs(TensorDataset(X[:0], Y[:0]))
    with pytest.raises(TypeError, match="map-style data set"):
        DatasetInputs(X)
