"""Data as loaders yield them: small data sets, dicts, streams of unknown length."""

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, SubsetRandomSampler

from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Categorical, MeanFieldGuide
from bayeshnet.inference import fit
from bayeshnet.inference.batches import make_batches

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 2


class Pairs(Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, i):
        return X[i], Y[i]


class Named(Pairs):
    def __getitem__(self, i):
        return {"pixels": X[i], "labels": Y[i]}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def made(num_data=None):
    net = nn.Linear(3, 2)
    guide = MeanFieldGuide(net)
    return BayesianModel(net, FanInGaussian(guide.weight_spec), Categorical(), num_data), guide


def test_a_data_set_smaller_than_a_batch_is_one_batch():
    batches = make_batches(Pairs(), 64)
    assert (batches.per_epoch, batches.num_data, len(batches.next()[0])) == (1, 20, 20)
    tensors, pairs = (fit(*made(), data, batch_size=64, num_epochs=7) for data in ((X, Y), Pairs()))
    assert (tensors.steps, pairs.steps) == (7, 7)


def test_no_data_and_no_batch_are_errors():
    with pytest.raises(ValueError, match="data: expected at least one batch per epoch, got an empty loader"):
        fit(*made(), DataLoader(Pairs(), 64, drop_last=True), num_epochs=3)
    with pytest.raises(ValueError, match="data: expected at least one example"):
        fit(*made(), (X[:0], Y[:0]), num_steps=3)
    with pytest.raises(ValueError, match="data: expected at least one example"):
        fit(*made(), torch.utils.data.Subset(Pairs(), []), num_steps=3)
    with pytest.raises(ValueError, match="got a Dataset without __len__"):
        fit(*made(), type("Bare", (Dataset,), {})(), num_steps=3)


def test_dict_batches_have_a_way_in():
    loader = DataLoader(Named(), 5)
    with pytest.raises(TypeError, match=r"data: expected .*a dict with the keys 'pixels', 'labels'.*transform"):
        fit(*made(), loader, num_steps=1)
    result = fit(*made(), loader, num_epochs=2, transform=lambda b, generator: (b["pixels"], b["labels"]))
    assert result.steps == 8


def test_a_transform_must_give_inputs_and_targets():
    with pytest.raises(TypeError, match="data: expected inputs and targets"):
        fit(*made(), (X, Y), num_steps=1, transform=lambda x, y, generator: {"x": x})
    with pytest.raises(TypeError, match="data: expected inputs and targets"):
        fit(*made(), (X, Y), num_steps=1, transform=lambda x, y, generator: x)


def test_streams_need_a_size_and_a_number_of_steps():
    loader = DataLoader(Stream(), 5)
    assert fit(*made(20), loader, num_steps=9).steps == 9
    assert fit(*made(20), Stream(), batch_size=8, num_steps=9).steps == 9
    with pytest.raises(ValueError, match=r"data: expected data of a known size.*num_data=N"):
        fit(*made(), loader, num_steps=3)
    with pytest.raises(ValueError, match=r"num_epochs: expected None without data of a known length.*num_steps"):
        fit(*made(20), loader, num_epochs=3)
    with pytest.raises(ValueError, match="batch_size: expected a number with an IterableDataset"):
        fit(*made(20), Stream(), num_steps=3)


def test_the_size_is_that_of_the_examples_gone_through():
    subset = make_batches(DataLoader(Pairs(), 5, sampler=SubsetRandomSampler(range(10))))
    assert (subset.num_data, subset.per_epoch) == (10, 2)
    batched = DataLoader([(X[:10], Y[:10]), (X[10:], Y[10:])], batch_size=None)
    assert make_batches(batched).num_data is None
    sampler = BatchSampler(SequentialSampler(Pairs()), 4, drop_last=False)
    assert make_batches(DataLoader(Pairs(), sampler=sampler, batch_size=None)).num_data == 20
    assert make_batches(DataLoader(Pairs(), batch_sampler=sampler)).num_data == 20


class Lazy(nn.Module):
    """A guide that builds its parameters from the first batch that it sees, and notes all that it sees."""

    def __init__(self, inner):
        super().__init__()
        self.make, self.seen = inner, []
        self.weight_spec = inner().weight_spec

    def forward(self, x, y):
        self.seen.append(x)
        if not hasattr(self, "inner"):
            self.inner = self.make()
        return self.inner(x, y)


def test_a_lazy_guide_is_built_from_the_batch_it_is_trained_on():
    model, _ = made()
    guide = Lazy(lambda: MeanFieldGuide(model.net))
    shift = lambda x, y, generator: (x + 1, y)  # noqa: E731
    fit(model, guide, (X, Y), num_steps=1, batch_size=4, transform=shift, generator=torch.Generator().manual_seed(0))
    first, second = guide.seen[:2]
    assert torch.equal(first, second)
    assert all((row - 1 - X).abs().sum(1).min() < 1e-6 for row in first)


def test_examples_that_cannot_be_joined_are_named_with_the_cause():
    class Ragged(Pairs):
        def __getitem__(self, i):
            return torch.zeros(i % 3 + 1), Y[i]

    with pytest.raises(ValueError, match="data: expected examples that can be read and joined to batches") as caught:
        fit(*made(), DataLoader(Ragged(), 5), num_steps=2)
    assert isinstance(caught.value.__cause__, RuntimeError)
