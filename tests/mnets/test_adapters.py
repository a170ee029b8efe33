"""Adapters of trained modules: their functions by hand, what they leave alone, merging, and what is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bayeshnet import WeightSpec
from bayeshnet.builders import MeanFieldWeights
from bayeshnet.functional import batched_forward
from bayeshnet.mnets import BiasAdapter, FiLMAdapter, LowRankAdapter, ModuleMainNet, adapt
from tests.support.mnet_builders import Tied, VisionResNet, convolutional, encoder

D = torch.float64
MODULES = {
    "conv": (convolutional, (3, 1, 6, 6)),
    "resnet": (lambda: VisionResNet().eval(), (3, 3, 6, 6)),
    "encoder": (lambda: encoder().eval(), (2, 3, 8)),
    "linear": (lambda: nn.Linear(3, 2), (4, 3)),
    "twice": (lambda: nn.Sequential(*[nn.Linear(3, 3)] * 2), (4, 3)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 6, 3, groups=2), nn.Conv1d(6, 2, 1)), (3, 4, 5)),
}


def made(name):
    build, shape = MODULES[name]
    return build().to(D), torch.randn(shape, dtype=D)


def named(net, weights):
    return net.weight_spec.unflatten(weights)


def some(net, num=3):
    return 0.4 * torch.randn(num, net.weight_spec.numel, dtype=D)


@pytest.mark.parametrize("kind", ["lora", "film", "bias", "last_layer"])
@pytest.mark.parametrize("name", [name for name in MODULES if name != "encoder"])
def test_at_first_nothing_changes_and_merged_draws_are_plain_modules(name, kind):
    module, x = made(name)
    state = copy.deepcopy(module.state_dict())
    net = adapt(module, kind)
    begin = net.module_weights()
    assert torch.equal(net(x, weights=net.weight_spec.split(begin)), module(x))
    weights = some(net)
    outputs = batched_forward(net, weights, x, "vmap")
    torch.testing.assert_close(outputs, batched_forward(net, weights, x, "loop"))
    own = MODULES[name][0]().to(D)  # the user's own module, fresh
    for w, y in zip(weights, outputs, strict=True):
        merged = net.to_module(w)
        assert type(merged) is type(module)
        assert [n for n, _ in merged.named_parameters()] == [n for n, _ in module.named_parameters()]
        assert WeightSpec.of(merged) == WeightSpec.of(module)
        own.load_state_dict(merged.state_dict())
        torch.testing.assert_close(own(x), y)
        assert (y - module(x)).abs().max() > 1e-3
    assert torch.equal(net(x, weights=net.weight_spec.split(begin)), module(x))  # merging left the network alone
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert [n for n, p in net.named_parameters() if p.requires_grad] == []


@pytest.mark.parametrize("kind", ["lora", "film", "bias"])
def test_attention_takes_adapters_on_all_its_routes(kind):
    module, x = made("encoder")
    net = adapt(module, kind)
    with torch.no_grad():
        torch.testing.assert_close(net(x, weights=net.weight_spec.split(net.module_weights())), module(x))
        weights = some(net)
        outputs = batched_forward(net, weights, x)
        torch.testing.assert_close(net.to_module(weights[1])(x), outputs[1])
    torch.testing.assert_close(net.train()(x, weights=net.weight_spec.split(weights[1])), outputs[1])


def test_low_rank_convolution_by_hand():
    """A change of low rank is a convolution to r channels and a combination of these."""
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1, dtype=D)
    net = adapt(conv, "lora", rank=2, alpha=3.0)
    down, up = torch.randn(2, 27, dtype=D), torch.randn(5, 2, dtype=D, requires_grad=True)
    x = torch.randn(4, 3, 7, 7, dtype=D)
    narrow = F.conv2d(x, down.reshape(2, 3, 3, 3), stride=2, padding=1)
    expected = conv(x) + 1.5 * torch.einsum("or,nrhw->nohw", up, narrow)
    found = net(x, weights=[down, up])
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), up)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_low_rank_of_linear_layers_by_hand():
    body = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)).to(D)
    net = adapt(body, "lora", rank=3, layers="2", alpha=6.0)
    assert [e.shape for e in net.weight_spec.entries] == [(2, 4), (2, 2)]  # no more rows than the matrix has
    down, up = (torch.randn(s, dtype=D) for s in net.weight_spec.shapes)
    x = torch.randn(5, 6, dtype=D)
    hidden = torch.tanh(body[0](x))
    torch.testing.assert_close(net(x, weights=[down, up]), body(x) + 2.0 * hidden @ down.T @ up.T)


@pytest.mark.parametrize("name", ["conv", "resnet"])
@pytest.mark.parametrize("kind", ["film", "bias"])
def test_scales_and_shifts_are_those_of_outputs(name, kind):
    """The same module, whose layers' outputs are scaled and shifted by hooks."""
    module, x = made(name)
    net = adapt(module, kind)
    weights = some(net, 1)[0]
    values = named(net, weights)
    hooked = copy.deepcopy(module)
    count = 0
    for path, layer in hooked.named_modules():
        gain = values.get(f"{path}.parametrizations.weight.0.gain", torch.zeros((), dtype=D))
        shift = values.get(f"{path}.parametrizations.bias.0.shift")
        if shift is not None:
            count += 1
            column = (slice(None), *[None] * (2 if not isinstance(layer, nn.Linear) else 0))

            def scaled(part, inputs, output, gain=gain, shift=shift, column=column):
                return output * (1 + (gain[column] if gain.ndim else gain)) + shift[column]

            layer.register_forward_hook(scaled)
    assert count == {"conv": 3, "resnet": 7}[name]
    expected = hooked(x)
    if kind == "bias":
        assert not any("gain" in key for key in values)
    torch.testing.assert_close(net(x, weights=values), expected)


def test_tied_weights_have_one_change():
    module = Tied().to(D)
    net = adapt(module, "lora", rank=2, layers="out")
    assert net.weight_spec.names == tuple(f"embed.parametrizations.weight.0.{part}" for part in ("down", "up"))
    down, up = (torch.randn(s, dtype=D) for s in net.weight_spec.shapes)
    index, matrix = torch.arange(4), module.embed.weight + up @ down
    expected = torch.tanh(module.inner(matrix[index])) @ matrix.T
    torch.testing.assert_close(net(index, weights=[down, up]), expected)
    merged = net.to_module(net.weight_spec.flatten([down, up]))
    assert merged.out.weight is merged.embed.weight
    torch.testing.assert_close(merged(index), expected)
    pair = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).to(D)
    pair[1].weight = pair[0].weight
    with pytest.raises(ValueError, match="layers: expected layers with tensors of their own, got one tensor that is"):
        adapt(pair, "film")
    pair[1].bias = pair[0].bias
    shifted = adapt(pair, "bias")
    assert shifted.weight_spec.numel == 3


def test_layers_are_chosen_by_name():
    module = VisionResNet().eval()
    layers = {
        "layer1": ["layer1.0.conv1", "layer1.0.conv2"],
        "layer*.conv1": ["layer1.0.conv1", "layer2.0.conv1"],
        "fc": ["fc"],
    }
    for pattern, paths in layers.items():
        net = ModuleMainNet(module, adapter=LowRankAdapter(pattern))
        assert [n.split(".param")[0] for n in net.weight_spec.names[::2]] == paths
    both = ModuleMainNet(module, adapter=LowRankAdapter(["fc", "conv1"]))
    assert [n.split(".param")[0] for n in both.weight_spec.names[::2]] == ["conv1", "fc"]
    whole = adapt(module, "lora", select="fc.*")
    assert whole.weight_spec.names[-2:] == ("fc.weight", "fc.bias")
    assert not any("fc.param" in name for name in whole.weight_spec.names)
    assert adapt(module, "last_layer").weight_spec.names == ("fc.weight", "fc.bias")
    named_one = adapt(module, "last_layer", layers="conv1", select="fc.bias")
    assert named_one.weight_spec.names == ("conv1.weight", "fc.bias")


def test_priors_and_posteriors_begin_at_the_trained_network():
    """B has the role of a bias: zero at first, with the scale of biases; A is drawn like a layer's weights."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(400, 50), nn.ReLU(), nn.Linear(50, 2))
    x = torch.randn(6, 400)
    for kind in ("lora", "film", "bias"):
        net = adapt(body, kind)
        posterior = MeanFieldWeights().build(net.weight_spec)()
        torch.testing.assert_close(net(x, weights=net.weight_spec.split(posterior.mean.detach())), body(x))
        prior = MeanFieldWeights().prior(net.weight_spec)
        scales = named(net, prior.stddev)
        for name, scale in scales.items():
            fan_in = 400 if name.startswith("0") else 50
            gain = 1.0 if name.startswith("2") else 2**0.5
            expected = gain / fan_in**0.5 if name.endswith("down") else 0.1
            torch.testing.assert_close(scale, torch.full_like(scale, expected))


def test_statistics_of_frozen_layers_do_not_move():
    module = VisionResNet()
    net = adapt(module, "film").train()
    before = copy.deepcopy(net.state_dict())
    x = 1 + torch.randn(4, 3, 6, 6)
    outputs = net(x, weights=net.weight_spec.split(net.module_weights()))
    torch.testing.assert_close(outputs, module.eval()(x))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_dtypes_of_the_module_are_kept():
    net = adapt(nn.Linear(4, 2, dtype=torch.bfloat16), "lora")
    assert net.module_weights().dtype == torch.bfloat16
    assert net.to_module(net.module_weights()).weight.dtype == torch.bfloat16


class Inverted(nn.Module):
    """A block of a mobile network: to more channels, a convolution of each channel, and back."""

    def __init__(self, maps_in, maps, stride):
        super().__init__()
        wide = 3 * maps_in
        self.layers = nn.Sequential(
            *(nn.Conv2d(maps_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, maps, 1, bias=False), nn.BatchNorm2d(maps)),
        )
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        found = self.layers(x)
        return found + x if found.shape == x.shape else found


def mobile():
    """A network in the manner of EfficientNet-Lite: stem, inverted blocks, head, average and classifier."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(Inverted(8, 16, 2), Inverted(16, 16, 1), Inverted(16, 24, 2), Inverted(24, 24, 1)),
        *(nn.Conv2d(24, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)),
    ).eval()


@pytest.mark.parametrize(
    ("kind", "layers"), [("last_layer", None), ("lora", "12"), ("lora", ["7", "12"]), ("film", "8")]
)
def test_all_draws_share_one_pass_through_the_trunk(kind, layers):
    net = adapt(mobile().to(D), kind, layers=layers)
    assert net.fixed_trunk
    weights, x = some(net, 5), torch.randn(4, 3, 16, 16, dtype=D)
    outputs = batched_forward(net, weights, x)
    assert [part.calls for part in net.module if isinstance(part, Inverted)] == [1, 1, 1, 1]
    torch.testing.assert_close(outputs, batched_forward(net, weights, x, "loop"))
    assert net.module[6].calls == 6


def test_a_trunk_is_fixed_where_the_layers_before_the_first_adapted_one_are_most():
    assert not adapt(mobile(), "lora").fixed_trunk
    assert not adapt(mobile(), "lora", layers="4").fixed_trunk
    for kind in ("lora", "film", "bias"):
        assert not adapt(nn.Linear(3, 2), kind).fixed_trunk


def test_refusals():
    module = convolutional()
    with pytest.raises(ValueError, match=r"kind: expected one of .*lora.*, got 'lore'"):
        adapt(module, "lore")
    with pytest.raises(TypeError, match=r"options: expected those of LowRankAdapter, got .*ranks"):
        adapt(module, "lora", ranks=3)
    with pytest.raises(ValueError, match="options: expected none for 'last_layer'"):
        adapt(module, "last_layer", rank=3)
    with pytest.raises(
        ValueError, match=r"layers: expected linear or convolutional layers of the module .*there is none"
    ):
        adapt(nn.LSTM(3, 4), "lora")
    with pytest.raises(ValueError, match="module: expected one with a linear or convolutional layer"):
        adapt(nn.LSTM(3, 4), "last_layer")
    with pytest.raises(ValueError, match=r"layers: expected linear or convolutional layers .*'0', '5'.*, got '1'"):
        adapt(module, "lora", layers="1")
    with pytest.raises(ValueError, match="layers: expected the name of one linear or convolutional layer"):
        adapt(module, "last_layer", layers="1")
    with pytest.raises(ValueError, match=r"layers: expected .* layers with a bias .*, got no layer"):
        adapt(nn.Conv1d(2, 3, 1, bias=False), "film")
    with pytest.raises(ValueError, match="layers: expected a layer whose tensors are not passed whole"):
        adapt(module, "lora", select="*.weight")
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"layers: .*plain tensors, got '0.weight' in a layer that is parametrized"):
        adapt(normed, "lora")
    assert adapt(normed, "lora", layers="1").weight_spec.numel == 2 * 3 + 2 * 2
    with pytest.raises(ValueError, match=r"parametrized already"):
        adapt(adapt(module, "lora").module, "film")
    bounded = nn.Sequential(nn.Embedding(4, 2, max_norm=1.0), nn.Linear(2, 4, bias=False))
    bounded[1].weight = bounded[0].weight
    with pytest.raises(ValueError, match=r"share no weights with an embedding with max_norm, got '0.weight'"):
        adapt(bounded, "lora")
    with pytest.raises(TypeError, match="adapter: expected an Adapter, or None, got 'lora'"):
        ModuleMainNet(module, adapter="lora")
    for bad, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="rank: expected"):
            LowRankAdapter(rank=bad)
    for make in (LowRankAdapter, FiLMAdapter, BiasAdapter):
        with pytest.raises(ValueError, match="layers: expected names or patterns"):
            make([])
        with pytest.raises(TypeError, match="layers: expected names or patterns"):
            make([3])


def test_settings_are_shown():
    assert repr(LowRankAdapter("2", rank=3)) == "LowRankAdapter(layers='2', rank=3, alpha=None)"
    assert "adapter=FiLMAdapter(layers=None)" in repr(ModuleMainNet(convolutional(), adapter=FiLMAdapter()))
