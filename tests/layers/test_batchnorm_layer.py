"""Batch norm against its formula and torch's layer; its sets of statistics."""

import copy
import pickle

import pytest
import torch
from torch import nn

from bayeshnet.layers import BatchNormLayer

D = torch.float64


def formula(x, mean, var, gain, shift):
    """The definition, one channel at a time."""
    out = torch.empty_like(x)
    for c in range(x.shape[1]):
        out[:, c] = (x[:, c] - mean[c]) / torch.sqrt(var[c] + 1e-5) * gain[c] + shift[c]
    return out


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_batch_statistics_and_gradients(shape):
    x = torch.randn(shape, dtype=D, requires_grad=True)
    layer = BatchNormLayer(3).double()
    nn.init.normal_(layer.scale)
    nn.init.normal_(layer.bias)
    over = [0, *range(2, len(shape))]
    expected = formula(x, x.mean(over), x.var(over, unbiased=False), layer.scale, layer.bias)
    got = layer(x)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)
    v = torch.randn_like(got)
    inputs = (x, layer.scale, layer.bias)
    for a, b in zip(torch.autograd.grad(got, inputs, v), torch.autograd.grad(expected, inputs, v), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def test_running_statistics_like_torch():
    ours, theirs = BatchNormLayer(3, momentum=0.3), nn.BatchNorm1d(3, momentum=0.3)
    for _ in range(4):
        x = torch.randn(6, 3) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    mean, var = ours.get_stats()
    torch.testing.assert_close(mean, theirs.running_mean)
    torch.testing.assert_close(var, theirs.running_var)
    x = torch.randn(6, 3)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_cumulative_average_like_torch():
    ours, theirs = BatchNormLayer(2, momentum=None), nn.BatchNorm1d(2, momentum=None)
    for _ in range(3):
        x = torch.randn(5, 2) + 3
        ours(x), theirs(x)
    torch.testing.assert_close(ours.get_stats()[0], theirs.running_mean)
    torch.testing.assert_close(ours.get_stats()[1], theirs.running_var)
    with pytest.raises(ValueError, match="momentum: expected a number"):
        ours(x, torch.zeros(2), torch.ones(2))


def test_statistics_per_condition():
    layer = BatchNormLayer(2)
    layer.checkpoint_stats()
    assert layer.num_stats == 2
    x = torch.randn(50, 2) + 5
    layer(x, stats_id=1)
    assert torch.equal(layer.get_stats(0)[0], torch.zeros(2))
    torch.testing.assert_close(layer.get_stats()[0], 0.1 * x.mean(0))
    layer.eval()
    torch.testing.assert_close(layer(x, stats_id=0), x / (1 + 1e-5) ** 0.5)
    with pytest.raises(ValueError, match="stats_id: expected an integer below 2, got None"):
        layer(x)
    with pytest.raises(ValueError, match="stats_id: expected an integer below 2, got 2"):
        layer(x, stats_id=2)


def test_given_statistics_have_priority_and_gradients():
    layer = BatchNormLayer(3).double().eval()
    x = torch.randn(5, 3, 4, dtype=D)
    mean, var = torch.randn(3, dtype=D, requires_grad=True), torch.rand(3, dtype=D, requires_grad=True)
    got = layer(x, mean, var)
    expected = formula(x, mean, var, layer.scale, layer.bias)
    torch.testing.assert_close(got, expected)
    for a, b in zip(
        torch.autograd.grad(got.sin().sum(), (mean, var)),
        torch.autograd.grad(expected.sin().sum(), (mean, var)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    with pytest.warns(UserWarning, match="stats_id is ignored"):
        layer(x, mean.detach(), var.detach(), stats_id=0)
    with pytest.raises(ValueError, match="running_mean, running_var: expected both or neither"):
        layer(x, mean)


def test_given_statistics_are_updated_in_training():
    layer = BatchNormLayer(2, affine=False)
    mean, var, x = torch.zeros(2), torch.ones(2), torch.randn(9, 2) + 1
    layer(x, mean, var)
    torch.testing.assert_close(mean, 0.1 * x.mean(0))
    assert torch.equal(layer.get_stats()[0], torch.zeros(2))
    leaf = torch.zeros(2, requires_grad=True)
    layer(x, leaf, var)
    assert torch.equal(leaf.detach(), torch.zeros(2))


def test_external_gains_and_shifts():
    layer = BatchNormLayer(2, affine=False)
    assert layer.weights is None
    assert layer.hyper_shapes == [[2], [2]]
    assert not list(layer.parameters())
    x, gain, shift = torch.randn(8, 2), torch.randn(2), torch.randn(2)
    torch.testing.assert_close(layer(x, weight=gain, bias=shift), layer(x) * gain + shift)
    own = BatchNormLayer(2)
    assert own.hyper_shapes is None
    assert own.param_shapes == [[2], [2]]
    assert len(own.weights) == 2
    torch.testing.assert_close(own(x, weight=gain, bias=shift), layer(x, weight=gain, bias=shift))


def test_frozen_and_untracked():
    x = torch.randn(6, 3) * 4
    frozen = BatchNormLayer(3, track_running_stats=False, frozen_stats=True)
    for mode in (True, False):
        torch.testing.assert_close(frozen.train(mode)(x), x / (1 + 1e-5) ** 0.5)
    assert torch.equal(frozen.get_stats()[0], torch.zeros(3))
    bare = BatchNormLayer(3, track_running_stats=False)
    assert bare.num_stats == 0
    assert bare.uses_batch
    assert not bare.updates_stats
    torch.testing.assert_close(bare.train()(x), bare.eval()(x))
    for layer in (frozen, bare):
        with pytest.raises(ValueError, match="track_running_stats: expected True"):
            layer.checkpoint_stats()
    with pytest.raises(ValueError, match="a layer that keeps statistics"):
        bare.get_stats()


def test_learnable_statistics():
    layer = BatchNormLayer(2, track_running_stats=False, learnable_stats=True)
    x = torch.randn(20, 2) + 2
    layer(x)
    torch.testing.assert_close(layer.get_stats()[0].detach(), 0.1 * x.mean(0))
    layer.eval()(x).sum().backward()
    mean, var = layer.get_stats()
    assert mean.grad.abs().min() > 0
    assert var.grad.abs().min() > 0
    assert {"mean_0", "var_0"} <= set(dict(layer.named_parameters()))


@pytest.mark.parametrize("make", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_copies(make):
    layer = BatchNormLayer(2)
    layer.checkpoint_stats()
    layer(torch.randn(5, 2), stats_id=1)
    twin = make(layer).eval()
    x = torch.randn(4, 2)
    torch.testing.assert_close(twin(x, stats_id=1), layer.eval()(x, stats_id=1))


def test_state_dict_keeps_all_statistics():
    layer = BatchNormLayer(2, momentum=None)
    layer.checkpoint_stats()
    layer(torch.randn(5, 2), stats_id=1)
    fresh = BatchNormLayer(2, momentum=None)
    fresh.load_state_dict(layer.state_dict())
    assert fresh.num_stats == 2
    torch.testing.assert_close(fresh.get_stats(1)[0], layer.get_stats(1)[0])


def test_dtype_and_meta():
    layer = BatchNormLayer(2).double()
    layer.checkpoint_stats()
    assert layer.get_stats()[0].dtype == D
    with torch.device("meta"):
        meta = BatchNormLayer(2)
    meta.checkpoint_stats()
    assert meta.get_stats()[0].device.type == "meta"
    assert meta(torch.empty(3, 2, device="meta"), stats_id=0).shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen_stats": True}, "track_running_stats: expected False when frozen_stats"),
        ({"learnable_stats": True}, "track_running_stats: expected False when learnable_stats"),
        (
            {"frozen_stats": True, "learnable_stats": True, "track_running_stats": False},
            "learnable_stats: expected False",
        ),
        ({"momentum": 2.0}, "momentum: expected"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        BatchNormLayer(3, **options)
    with pytest.raises(ValueError, match="num_features: expected an integer >= 1"):
        BatchNormLayer(0)


def test_statistics_are_given_up():
    layer, x = BatchNormLayer(2, momentum=None), torch.randn(8, 2)
    layer.checkpoint_stats()
    layer.drop_stats()
    assert (layer.num_stats, list(layer.state_dict())) == (0, ["scale", "bias"])
    torch.testing.assert_close(layer.eval()(x), (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt())
    with pytest.raises(ValueError, match="learnable_stats: expected False where statistics are given up"):
        BatchNormLayer(2, track_running_stats=False, learnable_stats=True).drop_stats()


def test_a_single_value_per_channel_has_no_variance():
    layer = BatchNormLayer(2)
    with pytest.raises(ValueError, match="inputs: expected several values per channel"):
        layer(torch.zeros(1, 2))
    assert layer(torch.zeros(1, 2, 3)).shape == (1, 2, 3)
    assert layer.eval()(torch.zeros(1, 2)).shape == (1, 2)
    assert BatchNormLayer(2, track_running_stats=False, frozen_stats=True)(torch.zeros(1, 2)).shape == (1, 2)
    bare = BatchNormLayer(2, track_running_stats=False).eval()
    assert bare(torch.zeros(1, 2), torch.zeros(2), torch.ones(2)).shape == (1, 2)
    with pytest.raises(ValueError, match="inputs: expected several values per channel"):
        bare(torch.zeros(1, 2))
