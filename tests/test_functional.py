"""batched_forward: strategies agree, the choice among them, chunks, nested outputs, randomness, refusals."""

import copy
import time

import pytest
import torch
from torch import nn

from bayeshnet import WeightSpec, functional
from bayeshnet.functional import batched_forward
from bayeshnet.layers import GaussianBump
from bayeshnet.mnets import MLP

D = torch.float64


def spied(monkeypatch):
    """Record which strategy is run."""
    seen = []
    for name in ("loop", "vmap"):
        original = getattr(functional._Job, name)

        def spy(self, weights, x, name=name, original=original):
            seen.append(name)
            return original(self, weights, x)

        monkeypatch.setattr(functional._Job, name, spy)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), None, torch.sigmoid, GaussianBump(), nn.Softmax(dim=1)])
@pytest.mark.parametrize("per_sample", [True, False])
def test_mlp_against_explicit_products(bias, activation, per_sample):
    net = MLP(3, 2, (4, 5), use_bias=bias, activation_fn=activation).double()
    weights = torch.randn(6, net.weight_spec.numel, dtype=D, requires_grad=True)
    x = torch.randn((6, 7, 3) if per_sample else (7, 3), dtype=D, requires_grad=True)
    outputs = []
    for s in range(6):
        h, at = x[s] if per_sample else x, 0
        for n, m in ((3, 4), (4, 5), (5, 2)):
            h = h @ weights[s, at : at + n * m].view(m, n).T
            at += n * m
            if bias:
                h, at = h + weights[s, at : at + m], at + m
            if m != 2 and activation is not None:
                h = activation(h)
        outputs.append(h)
    expected = torch.stack(outputs)
    v = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (weights, x), v)
    odd = isinstance(activation, nn.Softmax)
    for strategy in ("auto", "loop", "vmap") if odd else ("auto", "loop", "vmap", "bmm"):
        got = batched_forward(net, weights, x, strategy, per_sample_inputs=per_sample)
        torch.testing.assert_close(got, expected)
        for a, b in zip(torch.autograd.grad(got, (weights, x), v), gradients, strict=True):
            torch.testing.assert_close(a, b)
    if odd:
        with pytest.raises(ValueError, match="strategy: expected one that the network offers"):
            batched_forward(net, weights, x, "bmm", per_sample_inputs=per_sample)


def test_output_function_gives_pairs():
    net = MLP(3, 2, (4,), out_fn=torch.sigmoid)
    weights, x = torch.randn(5, net.weight_spec.numel), torch.randn(6, 3)
    for strategy in ("auto", "loop", "vmap", "bmm"):
        y, h = batched_forward(net, weights, x, strategy, chunk_size=2)
        torch.testing.assert_close(y, torch.sigmoid(h))
        assert h.shape == (5, 6, 2)


@pytest.mark.parametrize("chunk", [1, 2, 5, 9])
def test_chunks(chunk):
    net = MLP(3, 2)
    weights, x = torch.randn(5, net.weight_spec.numel), torch.randn(6, 3)
    whole = batched_forward(net, weights, x, "loop")
    for strategy in functional.STRATEGIES:
        torch.testing.assert_close(batched_forward(net, weights, x, strategy, chunk), whole)


def test_plain_module():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    spec = WeightSpec.of(net)
    weights = torch.randn(4, spec.numel, dtype=D)
    x = torch.randn(5, 3, dtype=D)
    before = [p.clone() for p in net.parameters()]
    expected = torch.stack([torch.func.functional_call(net, spec.unflatten(w), (x,)) for w in weights])
    for strategy in ("auto", "loop", "vmap"):
        torch.testing.assert_close(batched_forward(net, weights, x, strategy), expected)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_modules_in_several_places_are_left_alone():
    """A layer applied twice, and a tensor shared by two layers."""
    layer, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = layer.weight
    net = nn.Sequential(layer, nn.Tanh(), layer, other).double()
    before = [p.clone() for p in net.parameters()]
    weights, x = torch.randn(4, 15, dtype=D), torch.randn(5, 3, dtype=D)
    a, b, c = weights.split([9, 3, 3], dim=1)
    w = a.view(4, 3, 3).mT
    expected = ((x @ w + b[:, None]).tanh() @ w + b[:, None]) @ w + c[:, None]
    for strategy in ("auto", "loop", "vmap"):
        torch.testing.assert_close(batched_forward(net, weights, x, strategy), expected)
        assert all(torch.equal(p, q) for p, q in zip(before, net.parameters(), strict=True))


def test_nested_outputs():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 3)

        def forward(self, x):
            h = self.inner(x)
            return {"h": h, "pair": [h.sum(-1), (h.exp(),)]}

    net, x = Nested(), torch.randn(4, 2)
    weights = torch.randn(3, 9)
    for strategy in ("loop", "vmap", "auto"):
        for chunk in (None, 2):
            out = batched_forward(net, weights, x, strategy, chunk)
            torch.testing.assert_close(out["pair"][1][0], out["h"].exp())
            assert out["pair"][0].shape == (3, 4)


@pytest.mark.parametrize(
    ("net", "x", "expected"),
    [
        (nn.LSTM(2, 3), torch.randn(4, 1, 2), "loop"),
        (nn.GRU(2, 3), torch.randn(4, 1, 2), "loop"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), torch.randn(4, 2), "loop"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval(), torch.randn(4, 2), "vmap"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)), torch.randn(4, 2), "vmap"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)), torch.randn(4, 2), "loop"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(2, 3)).eval(), torch.randn(4, 2), "vmap"),
        (nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), torch.randn(4, 2), "vmap"),
        (nn.Conv2d(1, 2, 3), torch.randn(2, 1, 5, 5), "vmap"),
        (nn.Conv2d(3, 64, 3), torch.randn(16, 3, 32, 32), "loop"),
        (nn.Linear(600, 600), torch.randn(2, 600), "loop"),
        (MLP(600, 10, (600,)), torch.randn(2, 600), "loop"),
        (MLP(2, 1, (3,), use_batch_norm=True), torch.randn(4, 2), "loop"),
        (MLP(2, 1, (3,), use_batch_norm=True, bn_track_stats=False), torch.randn(4, 2), "vmap"),
        (MLP(2, 1, (3,), use_spectral_norm=True), torch.randn(4, 2), "loop"),
        (MLP(2, 1, (3,), use_context_mod=True), torch.randn(4, 2), "vmap"),
    ],
)
def test_auto_chooses(monkeypatch, net, x, expected):
    seen = spied(monkeypatch)
    spec = net.weight_spec if isinstance(net, MLP) else WeightSpec.of(net)
    batched_forward(net, torch.randn(3, spec.numel), x)
    assert seen == [expected]


def test_auto_falls_back_to_the_loop(monkeypatch):
    class Branches(nn.Module):
        """A module whose control flow depends on values, which vmap cannot follow."""

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 1)

        def forward(self, x):
            y = self.inner(x)
            return y if y.sum() > 0 else -y

    seen = spied(monkeypatch)
    net, x, weights = Branches(), torch.randn(4, 2), torch.randn(5, 3)
    got = batched_forward(net, weights, x)
    assert seen == ["vmap", "loop"]
    assert (got.sum((1, 2)) >= 0).all()
    with pytest.raises(RuntimeError, match="data-dependent"):
        batched_forward(net, weights, x, "vmap")


def test_running_statistics_are_updated_by_the_loop():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    spec, x = WeightSpec.of(net), torch.randn(4, 2)
    batched_forward(net, torch.randn(3, spec.numel), x)
    assert net[1].num_batches_tracked == 3


@pytest.mark.parametrize("strategy", ["auto", "loop", "vmap", "bmm"])
def test_dropout_differs_between_samples(strategy):
    net = MLP(2, 3, (50,), dropout_rate=0.5)
    weights = torch.randn(1, net.weight_spec.numel).expand(4, -1)
    out = batched_forward(net, weights, torch.randn(5, 2), strategy)
    assert not any(torch.equal(out[0], out[s]) for s in (1, 2, 3))


def test_attention_in_evaluation_mode_has_gradients():
    net = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    spec = WeightSpec.of(net)
    weights = (0.3 * torch.randn(3, spec.numel)).requires_grad_()
    x = torch.randn(2, 3, 4)
    gradients = []
    for strategy in ("loop", "vmap", "auto"):
        out = batched_forward(net, weights, x, strategy)
        gradients.append(torch.autograd.grad(out.square().sum(), weights)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[2], gradients[1])
    assert torch.backends.mha.get_fastpath_enabled()


def test_gradients_reach_a_generator_of_weights():
    net = MLP(2, 1, (3,))
    head = nn.Linear(4, net.weight_spec.numel)
    out = batched_forward(net, head(torch.randn(5, 4)), torch.randn(6, 2))
    out.sum().backward()
    assert head.weight.grad.abs().sum() > 0


def test_refusals():
    net, x = MLP(2, 1, (3,)), torch.randn(4, 2)
    weights = torch.zeros(3, net.weight_spec.numel)
    with pytest.raises(ValueError, match="strategy: expected one of 'auto', 'vmap', 'loop', 'bmm', got 'fast'"):
        batched_forward(net, weights, x, "fast")
    with pytest.raises(ValueError, match=r"weights: expected a tensor of shape \(any, 13\)"):
        batched_forward(net, weights[:, :-1], x)
    with pytest.raises(ValueError, match=r"weights: expected a tensor of shape \(any, 13\)"):
        batched_forward(net, weights[0], x)
    with pytest.raises(ValueError, match="weights: expected at least one weight vector"):
        batched_forward(net, weights[:0], x)
    with pytest.raises(ValueError, match="chunk_size: expected an integer >= 1, got 0"):
        batched_forward(net, weights, x, chunk_size=0)
    with pytest.raises(ValueError, match=r"x: expected inputs \(S, N, ...\) with S = 3"):
        batched_forward(net, weights, x, per_sample_inputs=True)
    with pytest.raises(TypeError, match=r"x: expected a tensor \(S, N, ...\)"):
        batched_forward(net, weights, (x,), per_sample_inputs=True)
    with pytest.raises(TypeError, match=r"net: expected a torch\.nn\.Module"):
        batched_forward(torch.relu, weights, x)
    with pytest.raises(ValueError, match="condition: expected None for a module that is no main network"):
        batched_forward(nn.Linear(2, 1), torch.zeros(1, 3), x, condition=1)
    with pytest.raises(TypeError, match="net: expected a network whose outputs are tensors"):
        batched_forward(Text(), torch.zeros(1, 1), x, "loop")


class Text(nn.Module):
    """A module that returns what cannot be stacked."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return "text"


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "samples", "rows"), [((1, 10, 10, 1), 10, 20), ((784, 100, 10), 10, 64)])
def test_auto_does_not_lose_to_the_loop(sizes, samples, rows):
    net = MLP(sizes[0], sizes[-1], sizes[1:-1])
    weights = (0.1 * torch.randn(samples, net.weight_spec.numel)).requires_grad_()
    x = torch.randn(rows, sizes[0])

    def seconds(strategy):
        def once():
            start = time.perf_counter()
            torch.autograd.grad(batched_forward(net, weights, x, strategy).square().mean(), weights)
            return time.perf_counter() - start

        once()
        return min(once() for _ in range(20))

    assert seconds("auto") < 1.3 * seconds("loop")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("strategy", ["auto", "vmap", "loop"])
def test_a_network_with_the_old_weight_norm_can_be_copied_afterwards(strategy):
    """Its hook leaves what it has computed from the parameters in the module: not that of other weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2)).to(D)
    x, weights = torch.randn(6, 3, dtype=D), torch.randn(5, WeightSpec.of(net).numel, dtype=D, requires_grad=True)
    before = net(x).detach()
    outputs = batched_forward(net, weights, x, strategy=strategy)
    other = copy.deepcopy(net)
    torch.testing.assert_close(other(x), before)
    (gradient,) = torch.autograd.grad(outputs.sum(), weights)
    for w, out in zip(weights.detach(), outputs, strict=True):
        nn.utils.vector_to_parameters(w, other.parameters())
        torch.testing.assert_close(other(x), out)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("per_sample", [False, True])
def test_many_inputs_are_computed_in_groups_of_samples(monkeypatch, per_sample):
    """The network's own implementation sees few samples at a time; outputs and gradients are those of the loop."""
    net = MLP(2, 3, hidden_layers=(8,), no_weights=True, verbose=False)
    seen, own = [], net.batched_forward

    def watched(weights, x, **options):
        seen.append((len(weights), options))
        return own(weights, x, **options)

    monkeypatch.setattr(net, "batched_forward", watched)
    weights = torch.randn(5, net.weight_spec.numel, dtype=torch.float64, requires_grad=True)
    x = torch.randn(*([5] if per_sample else []), 20_000, 2, dtype=torch.float64)
    found, wanted = (
        batched_forward(net, weights, x, strategy, per_sample_inputs=per_sample) for strategy in ("auto", "loop")
    )
    assert [count for count, _ in seen] == [2, 2, 1]
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    pulled = [torch.autograd.grad(out.sin().sum(), weights)[0] for out in (found, wanted)]
    torch.testing.assert_close(*pulled, rtol=1e-10, atol=1e-9)
