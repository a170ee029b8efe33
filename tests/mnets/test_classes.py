"""Properties of single classes of main networks, besides the contract and the parity with hypnettorch."""

import logging

import pytest
import torch
from torch import nn

from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MLP, WRN, LeNet, ResNet, SimpleRNN, ZenkeNet
from bayeshnet.mnets.parts.forward_pass import dropout

D = torch.float64


def test_mlp_is_a_stack_of_linear_layers():
    net = MLP(3, 2, (4, 5), activation_fn=nn.Tanh())
    stack = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    net.overwrite_internal_params(list(stack.parameters()))
    x = torch.randn(6, 3)
    torch.testing.assert_close(net(x), stack(x))
    assert MLP.weight_shapes(3, 2, (4, 5)) == net.param_shapes
    assert MLP.weight_shapes(3, 2, (4, 5), use_bias=False) == [[4, 3], [5, 4], [2, 5]]


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (3, 1, 2)])
def test_mlp_flattens_inputs(shape):
    size = torch.Size(shape).numel()
    net, flat = (MLP(size, 2, (4,), no_weights=True, flatten_inputs=flatten) for flatten in (True, False))
    x, weights = torch.randn(5, 6, *shape), torch.randn(5, net.weight_spec.numel)
    tensors = net.weight_spec.split(weights[0])
    torch.testing.assert_close(net(x[0], weights=tensors), flat(x[0].reshape(6, size), weights=tensors))
    for each in (False, True):
        inputs = x if each else x[0]
        found = net.batched_forward(weights, inputs, per_sample_inputs=each)
        rows = inputs.reshape(*inputs.shape[: 1 + each], size)
        torch.testing.assert_close(found, flat.batched_forward(weights, rows, per_sample_inputs=each))
    with pytest.raises(ValueError, match=rf"x: expected a tensor of shape \(\.\.\., {size + 1}\)"):
        MLP(size + 1, 2, flatten_inputs=True)(x[0])


def test_names_roles_and_fan_ins():
    spec = MLP(3, 2, (4,), use_batch_norm=True, use_context_mod=True, context_mod_gain_offset=True).weight_spec
    found = {e.name: (e.role, e.fan_in, e.last) for e in spec.entries}
    assert found["layer0.weight"] == ("weight", 3, False)
    assert found["layer0.bias"] == ("bias", 3, False)
    assert found["layer3.weight"] == ("weight", 4, True)
    assert found["layer3.bias"] == ("bias", 4, True)
    assert found["layer2.bn_scale"][0] == "norm_scale"
    assert found["layer2.bn_shift"][0] == "norm_shift"
    assert found["layer1.cm_scale"][0] == "norm_shift"  # an offset gain is centered at zero
    assert MLP(use_context_mod=True).weight_spec.entries[0].role == "norm_scale"
    part = MLP(3, 2, (4,), use_context_mod=True, context_mod_no_weights=True).weight_spec
    assert not any(e.last for e in part.entries)
    resnet = ResNet((8, 8, 3), n=1, num_feature_maps=(2, 3, 4, 5)).weight_spec
    assert [e.fan_in for e in resnet.entries if e.role == "weight"] == [27, 18, 27, 27, 36, 36, 45, 5]
    assert [e.name for e in resnet.entries if e.last] == ["layer22.weight", "layer22.bias"]


def test_layer_numbers_do_not_clash():
    for post in (False, True):
        for norm in (False, True):
            net = MLP(
                2,
                1,
                (3, 3),
                use_batch_norm=norm,
                use_context_mod=True,
                context_mod_inputs=True,
                context_mod_post_activation=post,
            )
            seen = {}
            for meta in net.param_shapes_meta:
                seen.setdefault(meta["layer"], set()).add(meta["name"].split("_")[0].replace("bias", "weight"))
            assert sorted(seen) == list(range(len(seen)))
            assert all(len(kinds) == 1 for kinds in seen.values())


def test_initial_weights_and_log(caplog):
    values = [torch.full(s, 0.5) for s in MLP(2, 1, (3,)).param_shapes]
    with caplog.at_level(logging.INFO, logger="bayeshnet"):
        net = MLP(2, 1, (3,), init_weights=values)
    assert "MLP with 13 weights" in caplog.text
    assert all((p == 0.5).all() for p in net.parameters())
    values[0].zero_()
    assert (net.internal_params[0] == 0.5).all()
    with pytest.raises(ValueError, match="init_weights: expected None for a network that keeps no weights"):
        MLP(no_weights=True, init_weights=values)
    with pytest.raises(ValueError, match="init_weights: expected 4 tensors, got 1"):
        MLP(2, 1, (3,), init_weights=values[:1])
    with pytest.raises(ValueError, match=r"init_weights\['layer0.bias'\]: expected a tensor of shape \(3\)"):
        MLP(2, 1, (3,), init_weights=[values[0], values[0], *values[2:]])


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(\.\.\., 3\), got .* \(2, 4\)"):
        MLP(3, 2)(torch.zeros(2, 4))
    with pytest.raises(TypeError, match=r"x: expected a torch\.Tensor"):
        MLP(3, 2)([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="context_mod_gain_softplus: expected False when context_mod_gain_offset"):
        MLP(use_context_mod=True, context_mod_gain_offset=True, context_mod_gain_softplus=True)


def test_a_rate_of_one_is_no_dropout():
    net, x = MLP(3, 2, dropout_rate=1), torch.randn(4, 3)
    assert torch.equal(net(x), net(x))
    assert torch.equal(net(x), net.eval()(x))


def test_empty_batches():
    for net, shape in ((MLP(2, 1), (0, 2)), (LeNet(arch="mnist_small"), (0, 784)), (SimpleRNN(2), (3, 0, 2))):
        assert net(torch.zeros(shape)).numel() == 0


def test_custom_init():
    net = MLP(50, 50, (50, 50))
    net.custom_init()
    bound = (6 / 100) ** 0.5
    assert all(0.9 * bound < w.abs().max() <= bound for w in net.layer_weight_tensors)
    assert all((b == 0).all() for b in net.layer_bias_vectors)
    nn.init.ones_(net.layer_bias_vectors[0])
    net.custom_init(normal_init=True, normal_std=0.3, zero_bias=False)
    assert all(abs(w.std().item() - 0.3) < 0.03 for w in net.layer_weight_tensors)
    assert (net.layer_bias_vectors[0] == 1).all()


def test_spectral_norm_of_layers():
    net = MLP(3, 2, (4,), activation_fn=None, use_spectral_norm=True).double()
    x = torch.randn(5, 3, dtype=D)
    for _ in range(100):
        net(x)
    w1, b1, w2, b2 = net.internal_params
    w1, w2 = (w / torch.linalg.matrix_norm(w, 2) for w in (w1, w2))
    torch.testing.assert_close(net.eval()(x), (x @ w1.T + b1) @ w2.T + b2)
    with pytest.raises(ValueError, match="use_spectral_norm: expected False"):
        MLP(no_weights=True, use_spectral_norm=True)


def test_dropout():
    net = MLP(2, 1, (2000,), activation_fn=None, dropout_rate=0.25, use_bias=False)
    net.overwrite_internal_params([torch.ones(2000, 2), torch.full((1, 2000), 1 / 2000)])
    x = torch.ones(4, 2)
    assert not torch.equal(net(x), net(x))
    assert (net(x) - 2).abs().max() < 0.2
    torch.testing.assert_close(net.eval()(x), torch.full((4, 1), 2.0))
    drawn = batched_forward(net.train(), net.weight_spec.flatten(list(net.internal_params)).expand(3, -1), x)
    assert len(set(drawn.flatten().tolist())) > 6
    with pytest.raises(ValueError, match="dropout_rate: expected"):
        MLP(dropout_rate=1.5)


def test_dropout_takes_whole_feature_maps():
    net = ZenkeNet()
    maps = dropout(torch.ones(2, 64, 3, 3), 0.5, True)
    assert set(maps.unique().tolist()) == {0.0, 2.0}
    assert all(m.unique().numel() == 1 for m in maps.flatten(0, 1))
    assert dropout(torch.ones(2, 64), 0.5, True).unique().numel() == 2
    x = torch.randn(2, 32, 32, 3)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
    with pytest.raises(ValueError, match=r"dropout_rate: expected a finite number >= 0\.0 and <= 0\.5"):
        ZenkeNet(dropout_rate=0.6)


def test_conditions_choose_statistics():
    net = MLP(2, 1, (3,), use_batch_norm=True)
    x = torch.randn(30, 2)
    net.batchnorm_layers[0].checkpoint_stats()
    net(x + 3, condition=0)
    net(x - 3, condition={"bn_stats_id": 1})
    net.eval()
    assert not torch.allclose(net(x, condition=0), net(x, condition=1))
    torch.testing.assert_close(net(x), net(x, condition=1))
    with pytest.raises(ValueError, match="stats_id: expected an integer below 2"):
        net(x, condition=2)
    with pytest.raises(ValueError, match="condition: expected an int or a dict"):
        net(x, condition={"task": 0})
    with pytest.raises(ValueError, match="no cmod_ckpt_id for a network without modulation"):
        net(x, condition={"cmod_ckpt_id": 0})
    with pytest.raises(ValueError, match="no bn_stats_id for a network without batch norm"):
        MLP(2, 1)(x, condition={"bn_stats_id": 0})
    torch.testing.assert_close(*(plain := MLP(2, 1), [plain(x), plain(x, condition=3)])[1])
    batched = batched_forward(net, net.weight_spec.flatten(list(net.internal_params)).expand(3, -1), x, condition=0)
    torch.testing.assert_close(batched[1], net(x, condition=0))


def test_distillation():
    net = MLP(2, 1, (3, 4), use_batch_norm=True, distill_bn_stats=True)
    assert net.hyper_shapes_distilled == [[3], [3], [4], [4]]
    net(torch.randn(9, 2))
    targets = net.distillation_targets()
    assert [list(t.shape) for t in targets] == net.hyper_shapes_distilled
    x = torch.randn(5, 2)
    net.eval()
    torch.testing.assert_close(net(x, distilled_params=targets), net(x))
    given = [t.clone().requires_grad_() for t in targets]
    net(x, distilled_params=given).sum().backward()
    assert all(t.grad.abs().sum() > 0 for t in given)
    with pytest.raises(ValueError, match=r"distilled_params\[0\]: expected a tensor of shape \(3\)"):
        net(x, distilled_params=targets[::-1])
    with pytest.raises(ValueError, match="distilled_params: expected 4 tensors, got 1"):
        net(x, distilled_params=targets[:1])
    with pytest.raises(ValueError, match="distilled_params: expected None"):
        MLP(2, 1)(x, distilled_params=targets)
    with pytest.raises(ValueError, match="distill_bn_stats: expected False where bn_track_stats"):
        MLP(2, 1, use_batch_norm=True, bn_track_stats=False, distill_bn_stats=True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: MLP(2, 1, (3,), use_context_mod=True, use_batch_norm=True),
        lambda: LeNet(arch="mnist_small", use_context_mod=True),
        lambda: ResNet((4, 4, 2), 3, n=1, num_feature_maps=(2, 2, 3, 4), use_context_mod=True),
        lambda: SimpleRNN(2, (3,), use_context_mod=True, context_mod_inputs=True),
    ],
)
def test_modulation_checkpoints(build):
    net = build().eval()
    x = {"MLP": (4, 2), "LeNet": (2, 784), "ResNet": (2, 32), "SimpleRNN": (3, 2, 2)}[type(net).__name__]
    x = torch.randn(x)
    for layer in net.context_mod_layers:
        layer.normal_init(0.3)
    before = net(x)
    for layer in net.context_mod_layers:
        layer.checkpoint_weights()
    assert not torch.allclose(net(x), before)
    torch.testing.assert_close(net(x, condition={"cmod_ckpt_id": 0}), before)
    if isinstance(net, LeNet | SimpleRNN):
        torch.testing.assert_close(net(x, condition=0), before)
    count = 2 * len(net.context_mod_layers)
    own = [p.detach() for p in net.internal_params]
    rest = {"internal_weights": own[count:]}
    torch.testing.assert_close(net(x, weights=rest, condition={"cmod_ckpt_id": 0}), before)
    with pytest.raises(ValueError, match="no modulation weights together with a cmod_ckpt_id"):
        net(x, weights={"mod_weights": own[:count]}, condition={"cmod_ckpt_id": 0})
    with pytest.raises(ValueError, match=r"weights\['internal_weights'\]: expected"):
        net(x, weights={"internal_weights": own[:1]})


def test_lenet():
    assert LeNet().num_params == 431080
    assert LeNet((32, 32, 3), arch="cifar", no_weights=True).num_params == 5747394
    assert LeNet(num_classes=3).num_classes == 3
    assert LeNet().param_shapes[-1] == [10]  # building one with three classes has changed nothing
    for options, message in (
        ({"arch": "big"}, "arch: expected one of"),
        ({"in_shape": (28, 28, 3)}, r"in_shape: expected \(28, 28, 1\)"),
        ({"in_shape": (28, 28)}, "in_shape: expected three integers"),
        ({"num_classes": 0}, "num_classes: expected an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            LeNet(**options)
    with pytest.raises(TypeError, match=r"kwargs: expected some of .*, got use_magic"):
        LeNet(use_magic=True)
    with pytest.raises(ValueError, match=r"x: expected images \(28, 28, 1\)"):
        LeNet()(torch.zeros(2, 100))


def test_zenkenet():
    x = torch.randn(1, 32, 32, 3)
    net = ZenkeNet(num_classes=7).eval()
    torch.testing.assert_close(net(x), net(x.flatten(1)))
    assert net(x).shape == (1, net.num_classes)
    with pytest.raises(ValueError, match="condition: expected None"):
        net(x, condition=1)
    with pytest.raises(ValueError, match="arch: expected one of 'cifar'"):
        ZenkeNet(arch="mnist")


def test_residual_networks():
    same = ResNet((8, 8, 3), n=1, num_feature_maps=(4, 4, 4, 4))
    assert same(torch.randn(2, 8, 8, 3)).shape == (2, 10)  # strides of 2 without more feature maps
    with pytest.raises(ValueError, match="num_feature_maps: expected four integers that do not decrease"):
        ResNet(num_feature_maps=(8, 4, 4, 4))
    with pytest.raises(ValueError, match="num_feature_maps: expected 4 integers, got"):
        WRN(num_feature_maps=(8, 4))
    wrn = WRN((8, 8, 3), n=1, k=1, num_feature_maps=(4, 4, 5, 6), use_fc_bias=False)
    assert str(wrn) == "WRN-9-1-B(3,3)"
    assert str(WRN(n=4, k=10, no_weights=True)) == "WRN-28-10-B(3,3)"
    with pytest.raises(ValueError, match="use_fc_bias: expected the value of use_bias"):
        _ = wrn.has_bias
    assert [b is None for b in wrn.layer_bias_vectors] == [True, True] + [False] * 7 + [True]
    chw = WRN((8, 6, 3), n=1, k=1, num_feature_maps=(4, 4, 5, 6), chw_input_format=True)
    hwc = WRN((8, 6, 3), n=1, k=1, num_feature_maps=(4, 4, 5, 6))
    hwc.load_state_dict(chw.state_dict())
    x = torch.randn(2, 8, 6, 3)
    torch.testing.assert_close(chw(x.permute(0, 3, 1, 2)), hwc(x))
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(any, 3, 8, 6\)"):
        chw(x)
    assert not torch.equal(*(WRN((8, 8, 3), n=1, k=1, dropout_rate=0.5)(torch.ones(2, 192)) for _ in range(2)))


@pytest.mark.parametrize("lstm", [False, True])
def test_rnn_against_torch(lstm):
    net = SimpleRNN(2, (3, 4), fc_layers=(), use_lstm=lstm).double()
    x = torch.randn(5, 2, 2, dtype=D, requires_grad=True)
    if lstm:
        oracle = nn.LSTM(2, 3).double(), nn.LSTM(3, 4).double()
        own = iter(net.internal_params)
        for layer in oracle:
            with torch.no_grad():
                for parameter in (layer.weight_ih_l0, layer.bias_ih_l0, layer.weight_hh_l0, layer.bias_hh_l0):
                    parameter.copy_(next(own))
        expected = oracle[1](oracle[0](x)[0])[0]
    else:
        h = x
        for i in (0, 6):
            wi, bi, wh, bh, wo, bo = list(net.internal_params)[i : i + 6]
            rnn = nn.RNN(h.shape[-1], wh.shape[0]).double()
            with torch.no_grad():
                for parameter, value in zip(rnn.parameters(), (wi, wh, bi, bh), strict=True):
                    parameter.copy_(value)
            h = torch.tanh(rnn(h)[0] @ wo.T + bo)
        expected = h
    torch.testing.assert_close(net(x), expected)
    got, other = (torch.autograd.grad(y.sin().sum(), x)[0] for y in (net(x), expected))
    torch.testing.assert_close(got, other)


def test_rnn_particulars():
    net = SimpleRNN(2, (3,), use_lstm=True, use_context_mod=True)
    net.init_hh_weights_orthogonal()
    gates = dict(zip(net.weight_spec.names, net.internal_params, strict=True))["layer1.weight_hh"].chunk(4)
    assert all(torch.allclose(g @ g.T, torch.eye(3), atol=1e-5) for g in gates)
    assert len(net.get_cm_weights()) == len(net.get_cm_inds()) == 4
    assert len(net.get_non_cm_weights()) == 6
    assert (net.num_rec_layers, net.use_lstm, net.bptt_depth) == (1, True, -1)
    with pytest.raises(ValueError, match="network: expected one that keeps modulation weights"):
        SimpleRNN().get_cm_weights()
    with pytest.raises(ValueError, match="return_hidden: expected True"):
        net(torch.zeros(2, 1, 2), return_hidden_int=True)
    with pytest.raises(ValueError, match="rnn_layers: expected at least one size"):
        SimpleRNN(rnn_layers=())
    with pytest.raises(ValueError, match=r"x: expected a tensor of shape \(any, any, 2\)"):
        net(torch.zeros(2, 1, 3))
    steps = {"context_mod_num_ts": 3, "use_context_mod": True}
    with pytest.raises(ValueError, match="context_mod_last_step: expected False"):
        SimpleRNN(context_mod_last_step=True, **steps)
    with pytest.raises(ValueError, match="context_mod_separate_layers_per_ts: expected True"):
        SimpleRNN(**steps)
    separate = SimpleRNN(2, context_mod_separate_layers_per_ts=True, **steps)
    assert len(separate.context_mod_layers) == 4
    with pytest.raises(ValueError, match=r"x: expected at most 3 time steps \(context_mod_num_ts\), got 4"):
        separate(torch.zeros(4, 1, 2))
    limits = [1 / 10**0.5, 1 / 10**0.5]
    big = SimpleRNN(1, (10,), fc_layers=())
    assert all(p.abs().max() <= limits[0] for p in big.internal_params)
    kaiming = SimpleRNN(1, (10,), fc_layers=(), kaiming_rnn_init=True)
    assert kaiming.internal_params[0].abs().max() > limits[0]


NETS = {
    "MLP": (MLP(3, 2, verbose=False), (4, 3)),
    "ResNet": (ResNet((8, 8, 3), 2, n=1, verbose=False), (4, 3, 8, 8)),
    "WRN": (WRN((8, 8, 3), 2, n=1, k=1, verbose=False), (4, 3, 8, 8)),
    "LeNet": (LeNet(verbose=False), (4, 1, 28, 28)),
    "ZenkeNet": (ZenkeNet(verbose=False), (4, 3, 32, 32)),
    "SimpleRNN": (SimpleRNN(3, verbose=False), (5, 4, 3)),
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float64])
@pytest.mark.parametrize("name", NETS)
def test_inputs_of_another_type_than_the_weights_are_refused(name, dtype):
    net, shape = NETS[name]
    with pytest.raises(TypeError, match=r"^x: expected inputs of torch.float32, like the weights, got a tensor"):
        net(torch.zeros(shape).to(dtype))


@pytest.mark.parametrize("name", NETS)
def test_autocast_casts_inputs(name):
    net, shape = NETS[name]
    with torch.autocast("cpu", torch.bfloat16):
        assert net.eval()(torch.zeros(shape).bfloat16()).isfinite().all()
