"""Chunks that are chosen by size, batches under the same draws, and files of predictions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bayeshnet.distributions import MeanFieldPosterior
from bayeshnet.functional import batched_forward
from bayeshnet.guides import Categorical, Gaussian, MeanFieldGuide
from bayeshnet.inference import Predictive, write_predictions
from bayeshnet.inference.predicting import draws_at_a_time, inputs_at_a_time
from bayeshnet.mnets import MLP, ModuleMainNet
from bayeshnet.mnets.activations import values_per_example
from bayeshnet.weights import WeightSpec

FILES = ["aleatoric.npy", "epistemic.npy", "mean.npy", "total.npy"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def classifier(num_samples=20, **options):
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 4))
    torch.manual_seed(0)
    return Predictive(MeanFieldGuide(net, sigma=0.5), net, Categorical(), num_samples, **options)


def test_values_of_an_example_are_those_of_all_layers():
    """By hand: a convolution of 3x3 pixels to 2 channels of 4x4, its rectification, and a linear layer of 5."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
    assert values_per_example(net, torch.zeros(2, 1, 6, 6)) == 32 + 32 + 5


def test_what_is_computed_of_weights_alone_is_not_counted():
    weight = torch.zeros(5, 3)
    assert values_per_example(lambda x: x @ (weight * 2 + 1).T, torch.zeros(2, 3)) == 5


def test_counting_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    values_per_example(nn.Dropout(), torch.zeros(2, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_chunks_follow_from_sizes():
    """The outputs, 32 for an example, count twice: they are stacked over draws."""
    net, weights = nn.Linear(3, 32), torch.zeros(100, 128)
    assert inputs_at_a_time(net, weights, torch.zeros(10**5, 3)) == 2**22 // (64 * 100)
    assert inputs_at_a_time(net, weights[:1], torch.zeros(10**5, 3)) == 2**22 // 64
    assert inputs_at_a_time(net, weights, torch.zeros(7, 3)) == 7
    many = torch.zeros(1000, 128)
    assert inputs_at_a_time(net, many, torch.zeros(10**5, 3)) == 128
    assert inputs_at_a_time(net, many.repeat(40, 1), torch.zeros(10**5, 3)) == 2**28 // (64 * 40_000)
    assert draws_at_a_time(2**20) == 128
    assert draws_at_a_time(2**40) == 1


def test_a_network_with_statistics_of_the_batch_takes_all_inputs_at_once():
    net = nn.Sequential(nn.Linear(3, 2048), nn.BatchNorm1d(2048, track_running_stats=False))
    weights = torch.zeros(500, WeightSpec.of(net).numel)
    assert inputs_at_a_time(net, weights, torch.zeros(1000, 3)) == 1000
    assert inputs_at_a_time(net[0], torch.zeros(500, 8192), torch.zeros(1000, 3)) == 128


def test_chosen_chunks_change_no_prediction():
    net = ModuleMainNet(nn.Sequential(nn.Linear(3, 512), nn.ReLU(), nn.Linear(512, 4)))
    guide = MeanFieldGuide(net)
    x, y = torch.randn(900, 3, generator=generator(1)), torch.randint(4, (900,), generator=generator(2))
    assert inputs_at_a_time(net, torch.zeros(100, net.weight_spec.numel), x) < 900
    chosen, whole = (Predictive(guide, net, Categorical(), 100, input_chunk=size) for size in (None, 900))
    torch.testing.assert_close(chosen(x, generator=generator()).mean, whole(x, generator=generator()).mean)
    log_probs = [p.log_likelihood(x, y, generator=generator()) for p in (chosen, whole)]
    torch.testing.assert_close(*log_probs)


class Counting(nn.Module):
    """A layer that counts its calls."""

    def __init__(self, width=3):
        super().__init__()
        self.calls, self.weight = 0, nn.Parameter(torch.randn(8, width, generator=generator(3)) / width)

    def forward(self, x):
        self.calls += 1
        return (x @ self.weight.T).relu()


def test_a_fixed_trunk_is_computed_once_for_all_draws():
    net = ModuleMainNet(nn.Sequential(Counting(), nn.Linear(8, 2)), select="1.*")
    weights, x = torch.randn(50, 18, generator=generator(4)), torch.randn(10, 3)
    assert net.fixed_trunk
    net.module[0].calls = 0
    outputs = batched_forward(net, weights, x)
    assert net.module[0].calls == 1
    torch.testing.assert_close(outputs, batched_forward(net, weights, x, "loop"))


@pytest.mark.parametrize(("width", "outputs", "rows"), [(1000, 600, 1000), (40_000, 30_000, 2)])
def test_it_is_so_for_sizes_at_which_a_random_network_is_looped_over(width, outputs, rows):
    """Many inputs, and many weights: without a fixed trunk both are computed draw by draw."""
    trunk = Counting(width)
    net = ModuleMainNet(nn.Sequential(trunk, nn.Linear(8, outputs)), select="1.*")
    weights, x = torch.randn(4, net.weight_spec.numel, generator=generator(4)), torch.randn(rows, width)
    found = batched_forward(net, weights, x)
    assert net.module[0].calls == 1
    torch.testing.assert_close(found, batched_forward(net, weights, x, "loop"))
    whole = ModuleMainNet(nn.Sequential(trunk, nn.Linear(8, outputs)))
    batched_forward(whole, torch.zeros(4, whole.weight_spec.numel), x)
    assert whole.module[0].calls == 4


def test_a_trunk_is_fixed_where_nothing_random_comes_before_it():
    layers = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    fixed = {select: ModuleMainNet(layers, select=select).fixed_trunk for select in ("0.*", "1.*", "2.*")}
    assert fixed == {"0.*": False, "1.*": False, "2.*": True}
    assert not ModuleMainNet(layers).fixed_trunk
    assert not ModuleMainNet(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 50)), select="1.*").fixed_trunk


@pytest.mark.parametrize("sample_chunk", [None, 7])
def test_batches_have_the_same_draws(sample_chunk):
    predictive = classifier(sample_chunk=sample_chunk)
    row = torch.randn(1, 3)
    first, second = predictive.batches([row.expand(5, 3), row], generator=generator())
    torch.testing.assert_close(first.mean[:1], second.mean)
    torch.testing.assert_close(first.epistemic[:1], second.epistemic)
    other = next(predictive.batches([row], generator=generator(1)))
    assert (other.mean - second.mean).abs().max() > 1e-3


def test_batches_in_one_chunk_are_those_of_one_call():
    predictive, x = classifier(), torch.randn(11, 3)
    whole = predictive(x, generator=generator())
    parts = list(predictive.batches(x.split(4), generator=generator()))
    torch.testing.assert_close(torch.cat([part.mean for part in parts]), whole.mean)
    torch.testing.assert_close(torch.cat([part.total for part in parts]), whole.total)


def test_batches_refuse_what_is_none_at_once():
    with pytest.raises(TypeError, match="batches: expected an iterable"):
        classifier().batches(3)


def test_batches_of_pairs_are_refused_with_the_way_out():
    x, y = torch.randn(6, 3), torch.zeros(6)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    predictive = classifier()
    with pytest.raises(TypeError, match=r"batches: expected inputs, .*\(x for x, _ in loader\)"):
        next(predictive.batches(loader, generator=generator()))
    parts = list(predictive.batches((x for x, _ in loader), generator=generator()))
    torch.testing.assert_close(torch.cat([p.mean for p in parts]), predictive(x, generator=generator()).mean)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_files_hold_the_prediction(tmp_path, dtype):
    predictive, x = classifier(), torch.randn(50, 3)
    whole = predictive(x, generator=generator())
    written = write_predictions(predictive, tmp_path, x, dtype=dtype, batch_size=16, generator=generator())
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name, array in written.items():
        assert isinstance(array, np.memmap)
        torch.testing.assert_close(torch.from_numpy(np.array(array)), getattr(whole, name).to(dtype))


def test_inputs_may_be_mapped_into_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((20, 3), np.float32))
    x = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="r+"))
    written = write_predictions(classifier(), tmp_path / "out", x, batch_size=8)
    assert written["mean"].shape == (20, 4)


def test_a_failure_leaves_older_files_and_no_others(tmp_path):
    predictive = classifier()
    before = write_predictions(predictive, tmp_path, torch.randn(20, 3), generator=generator())
    before = {name: np.array(array) for name, array in before.items()}
    x = torch.randn(20, 3)
    x[15] = torch.nan
    with pytest.raises(ValueError, match=r"batch number 1.*NaN for 4 of them"):
        write_predictions(predictive, tmp_path, x, batch_size=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    for name, array in before.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), array)


def test_numbers_too_large_for_half_precision_are_refused(tmp_path):
    net = MLP(3, 1, [])
    guide = MeanFieldGuide(MeanFieldPosterior(net.weight_spec, sigma=1e-3))
    predictive, x = Predictive(guide, net, Gaussian(1.0), 5), 1e6 * torch.randn(9, 3)
    with torch.no_grad():
        next(guide.parameters()).fill_(1.0)
    with pytest.raises(ValueError, match=r"dtype.*Choose torch.float32"):
        write_predictions(predictive, tmp_path, x)
    assert not list(tmp_path.iterdir())
    assert write_predictions(predictive, tmp_path, x, dtype=torch.float32)["mean"].shape == (9, 1)
