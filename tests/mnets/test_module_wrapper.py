"""Any module as a main network: equality to torch's functional_call, special cases and refusals."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from bayeshnet import WeightSpec
from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MLP, ModuleMainNet
from tests.support.mnet_builders import Head, Tied, VisionResNet, convolutional, draw, encoder, first

D = torch.float64


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (convolutional(), torch.randn(2, 1, 6, 6)),
        (encoder(), torch.randn(2, 3, 8)),
        (Head(), torch.randn(4, 2, 3)),
        (Tied(), torch.arange(4)),
        (VisionResNet().eval(), torch.randn(2, 3, 6, 6)),
        (nn.Sequential(*[nn.Linear(3, 3)] * 2), torch.randn(4, 3)),
        (nn.GRU(3, 4, 2, bidirectional=True), torch.randn(5, 2, 3)),
        (nn.Transformer(4, 2, 1, 1, 8, dropout=0.0, batch_first=True), (torch.randn(2, 3, 4), torch.randn(2, 2, 4))),
        (nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), torch.randn(4, 3)),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), torch.randn(4, 3)),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)).eval(), torch.randn(4, 3)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_like_functional_call(module, x, training):
    if isinstance(module, VisionResNet) or "Parametrized" in type(module).__name__:
        training = False
    module = copy.deepcopy(module).double().train(training)
    args = tuple(t.double() if t.is_floating_point() else t for t in (x if isinstance(x, tuple) else (x,)))
    x = args if isinstance(x, tuple) else args[0]
    net = ModuleMainNet(module)
    assert net.training == training
    flat = draw(net)
    assert net.weight_spec == WeightSpec.of(module)
    named = net.weight_spec.unflatten(flat)
    expected = first(torch.func.functional_call(module, named, args))
    torch.testing.assert_close(first(net(x, weights=named)), expected)
    for many in (batched_forward(module, flat.expand(3, -1), x), batched_forward(net, flat.expand(3, -1), x)):
        torch.testing.assert_close(first(many)[1], expected)
    if not any("parametrizations" in n for n in named):
        ready = net.to_module(flat)
        torch.testing.assert_close(first(ready(*args)), expected)
        assert sum(p.numel() for p in ready.parameters()) == flat.numel()


def test_module_is_left_alone():
    module = convolutional()
    state = copy.deepcopy(module.state_dict())
    net = ModuleMainNet(module, "5.*")
    assert [n for n, _ in module.named_parameters()] == list(state)
    torch.testing.assert_close(net.module_weights(), torch.cat([state["5.weight"].flatten(), state["5.bias"]]))
    for parameter in net.parameters():
        parameter.data.zero_()
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in state.items())


def test_selection():
    module = convolutional()
    rest = {"0.weight", "0.bias", "1.weight", "1.bias"}
    by_predicate = ModuleMainNet(module, lambda name, p: p.ndim == 2)
    assert by_predicate.weight_spec.names == ("5.weight",)
    assert by_predicate.weight_spec.entries[0].last
    net = ModuleMainNet(module, ["5.*"], train_rest=True)
    assert {n.removeprefix("module.") for n, _ in net.named_parameters()} == rest
    assert net.hyper_shapes_learned == [[2, 12], [2]]
    assert net.hyper_shapes_learned_ref == [4, 5]
    x = torch.randn(3, 1, 6, 6)
    values = [module[5].weight.detach(), module[5].bias.detach()]
    torch.testing.assert_close(net(x, weights=values), module(x))
    net(x, weights=values).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    everything = [p.detach() * 2 for p in module.parameters()]
    doubled = torch.func.functional_call(module, {k: 2 * v for k, v in module.named_parameters()}, (x,))
    torch.testing.assert_close(net(x, weights=everything), doubled)
    with pytest.raises(ValueError, match=r"select: expected patterns of 0.weight, .*, got 'head.\*'"):
        ModuleMainNet(module, ["5.*", "head.*"])
    with pytest.raises(ValueError, match="select: expected a predicate that holds for some parameter"):
        ModuleMainNet(module, lambda name, p: False)
    with pytest.raises(ValueError, match="select: expected at least one pattern"):
        ModuleMainNet(module, [])
    with pytest.raises(TypeError, match="select: expected a pattern"):
        ModuleMainNet(module, [3])


def test_tied_weights():
    net = ModuleMainNet(Tied().double(), select="out.weight").double()
    assert net.weight_spec.names == ("embed.weight",)
    matrix = torch.randn(7, 4, dtype=D, requires_grad=True)
    index = torch.arange(4)
    inner = net.module.inner
    expected = torch.tanh(matrix[index] @ inner.weight.T + inner.bias) @ matrix.T
    torch.testing.assert_close(net(index, weights=[matrix]), expected)
    got, other = (torch.autograd.grad(y.sin().sum(), matrix)[0] for y in (net(index, weights=[matrix]), expected))
    torch.testing.assert_close(got, other)
    inside = ModuleMainNet(Tied(), select="inner.*")
    assert len(inside.internal_params) == 1
    all_given = [2 * inside.internal_params[0], *[torch.zeros(s) for s in inside.hyper_shapes_learned]]
    weights = {"embed.weight": all_given[0], **inside.weight_spec.unflatten(torch.zeros(20))}
    torch.testing.assert_close(inside(index, weights=weights), torch.zeros(4, 7))
    weights["inner.bias"] = torch.ones(4)
    expected = torch.tanh(torch.ones(4)) @ all_given[0].T
    torch.testing.assert_close(inside(index, weights=weights), expected.expand(4, 7))


def test_batch_norm_policies():
    module = VisionResNet()
    x = torch.randn(6, 3, 6, 6) + 1
    for _ in range(3):
        module(x)
    trained, evaluated = module.train()(x).detach(), None
    module = copy.deepcopy(module)
    evaluated = module.eval()(x).detach()
    module.train()
    weights = [p.detach() for p in module.parameters()]
    state = {k: v.clone() for k, v in module.named_buffers()}
    for policy in ("eval", "batch"):
        net = ModuleMainNet(module, batch_norm=policy)
        before = {k: v.clone() for k, v in net.named_buffers()}
        for mode in (True, False):
            net.train(mode)
            torch.testing.assert_close(net(x, weights=weights), evaluated if policy == "eval" else trained)
            assert net.training == mode
        assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    track = ModuleMainNet(module, batch_norm="track")
    torch.testing.assert_close(track(x, weights=weights), trained)
    assert not torch.equal(track.module.bn1.running_mean, state["bn1.running_mean"])
    assert torch.equal(module.bn1.running_mean, state["bn1.running_mean"])
    none = ModuleMainNet(module)
    with pytest.raises(ValueError, match="batch_norm: expected 'eval', 'batch' or 'track'"):
        none(x, weights=weights)
    torch.testing.assert_close(none.eval()(x, weights=weights), evaluated)
    with pytest.raises(ValueError, match="batch_norm: expected one of"):
        ModuleMainNet(module, batch_norm="freeze")


def test_several_inputs_and_nested_outputs():
    net = ModuleMainNet(nn.LSTM(3, 4))
    x, state = torch.randn(5, 2, 3), (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    flat = draw(net, 3, torch.float32)
    outputs, (hidden, cell) = net((x, state), weights=net.weight_spec.split(flat[0]))
    many = batched_forward(net, flat, (x, state))
    assert isinstance(many[1], tuple)
    torch.testing.assert_close(batched_forward(nn.LSTM(3, 4), flat, (x, state))[0], many[0])
    torch.testing.assert_close((many[0][0], many[1][0][0], many[1][1][0]), (outputs, hidden, cell))


def test_refusals():
    with pytest.raises(
        ValueError, match="module: expected a module whose shapes are known, got the lazy parameter 'weight'"
    ):
        ModuleMainNet(nn.LazyLinear(3))
    with pytest.warns(FutureWarning, match="deprecated"):
        hooked = nn.utils.weight_norm(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="module: expected parameters that no hook recomputes, got WeightNorm"):
        ModuleMainNet(hooked)
    with pytest.raises(TypeError, match="module: expected an ordinary module, got MLP"):
        ModuleMainNet(MLP())
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module"):
        ModuleMainNet(torch.relu)
    bounded = nn.Sequential(nn.Embedding(4, 2, max_norm=1.0), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"select: expected no embeddings with max_norm, .*, got '0.weight'"):
        ModuleMainNet(bounded)
    assert ModuleMainNet(bounded, "1.*").weight_spec.numel == 6
    with pytest.raises(ValueError, match="module: expected a module with parameters"):
        ModuleMainNet(nn.ReLU())
    net = ModuleMainNet(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="weights: expected 2 tensors"):
        net(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="condition: expected None"):
        net(torch.zeros(1, 2), weights=[torch.zeros(1, 2), torch.zeros(1)], condition=1)
    with pytest.raises(ValueError, match=r"weights: expected a tensor of shape \(3\)"):
        net.to_module(torch.zeros(4))


def test_pruned_module_is_refused():
    module = nn.Linear(3, 2)
    prune.l1_unstructured(module, "weight", 2)
    with pytest.raises(ValueError, match="module: expected parameters that no hook recomputes"):
        ModuleMainNet(module)


def test_lists():
    net = ModuleMainNet(VisionResNet(), batch_norm="eval")
    names = [m["name"] for m in net.param_shapes_meta]
    assert names[:3] == ["weight", "bn_scale", "bn_shift"]
    assert names[-2:] == ["weight", "bias"]
    assert (net.has_fc_out, net.mask_fc_out, net.has_bias) == (True, True, True)
    layers = [m["layer"] for m in net.param_shapes_meta]
    assert layers == sorted(layers)
    spec = net.weight_spec
    assert spec.entries[-1].last
    assert dict(zip(spec.names, spec.entries, strict=True))["layer1.0.conv1.weight"].fan_in == 36
    part = ModuleMainNet(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    assert (part.has_fc_out, part.mask_fc_out) == (True, False)
