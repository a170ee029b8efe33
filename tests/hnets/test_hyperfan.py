"""Hyperfan initialization: variances by formula, and their effect in the main network."""

import logging
import math
import re

import pytest
import torch
import torch.nn.functional as F

from bayeshnet.hnets import HMLP, ChunkedHMLP
from bayeshnet.mnets import MLP, ModuleMainNet

SHAPES = [[60, 40], [60], [50, 60], [50]]
WIDTH = 80


def rows(net, shapes=SHAPES):
    sizes = [math.prod(s) for s in shapes]
    return [t.detach().split(sizes) for t in (net.layer_weight_tensors[-1], net.layer_bias_vectors[-1])]


def close(draws, variance):
    error = 5 * variance * math.sqrt(2 / max(2, draws.numel()))
    return abs(draws.var().item() - variance) <= error


def build(**kwargs):
    torch.manual_seed(0)
    options = {"uncond_in_size": 2, "cond_in_size": 6, "layers": [70, WIDTH], "verbose": False}
    return HMLP(SHAPES, **{**options, **kwargs})


@pytest.mark.parametrize("use_xavier", [False, True])
@pytest.mark.parametrize("method", ["in", "out", "harmonic"])
def test_variances(method, use_xavier):
    """The formulas, by hand: inputs of variance (2 * 3 + 6 * 0.5) / 8."""
    net = build()
    net.apply_hyperfan_init(method, use_xavier, uncond_var=3.0, cond_var=0.5)
    gain, level = (1 if use_xavier else 2), WIDTH * 9 / 8
    weights, biases = rows(net)
    for draws, fan_in, fan_out in ((weights[0], 40, 60), (weights[2], 60, 50)):
        both = gain / (2 * fan_in * level), gain / (fan_out * level)
        wanted = {"in": both[0], "out": both[1], "harmonic": 2 / (1 / both[0] + 1 / both[1])}[method]
        assert close(draws, wanted)
    for draws, fan_in, fan_out in ((weights[1], 40, 60), (weights[3], 60, 50)):
        both = gain / (2 * level), max(0, gain * (1 - fan_in / fan_out) / level)
        mean = 2 / (1 / both[0] + 1 / both[1]) if both[1] else 0.0
        assert close(draws, {"in": both[0], "out": both[1], "harmonic": mean}[method])
    assert not any(b.any() for b in biases)
    assert not any(b.any() for b in net.layer_bias_vectors)


@pytest.mark.parametrize("use_xavier", [False, True])
def test_the_main_network_preserves_the_variance_of_activations(use_xavier):
    """With fan-in a generated layer keeps the variance of its input (Xavier), or doubles it (Kaiming)."""
    net = build(layers=[], cond_in_size=200, uncond_in_size=0)
    net.apply_hyperfan_init("in", use_xavier)
    made = []
    for _ in range(40):
        weight, bias, *_ = net(cond_input=torch.randn(1, 200))
        made.append(F.linear(torch.randn(40), weight, bias))
    # Kaiming's gain of the hypernetwork's own rectifiers is counted although there are none here.
    assert abs(torch.stack(made).var().item() - (1.0 if use_xavier else 2.0)) < 0.15


def test_batch_norm_resets_the_variance():
    net = build(use_batch_norm=True)
    with torch.no_grad():
        for norm in net.batchnorm_layers:
            norm.scale.fill_(7.0)
    net.apply_hyperfan_init(uncond_var=100.0, cond_var=100.0)
    assert all(torch.equal(norm.scale, torch.ones_like(norm.scale)) for norm in net.batchnorm_layers)
    assert close(rows(net)[0][0], 2 / (2 * 40 * WIDTH))


def test_skip_connection_is_counted():
    net = build(linear_skip=True)
    net.apply_hyperfan_init(uncond_var=4.0, cond_var=1.0)
    assert close(rows(net)[0][0], 2 / (2 * 40 * (WIDTH * 1.75 + 2 * 4.0)))


def test_kinds_of_tensors_by_the_main_network():
    """Norms are initialized to the identity; a dict by names applies to all tensors of a name."""
    main = MLP(4, 3, (5,), use_batch_norm=True, no_weights=True, verbose=False)
    net = HMLP(main.hyper_shapes_learned, verbose=False)
    net.apply_hyperfan_init(mnet=main, b_val={"bn_shift": 0.25}, w_val={"bias": 3.0}, w_var={"bias": 0.0})
    for meta, tensor in zip(main.param_shapes_meta, net(cond_input=torch.randn(1, 8)), strict=True):
        if meta["name"] == "bn_scale":
            assert torch.equal(tensor, torch.ones_like(tensor))
        if meta["name"] == "bn_shift":
            assert torch.equal(tensor, torch.full_like(tensor, 0.25))
    at = [i for i, m in enumerate(main.param_shapes_meta) if m["name"] == "bias"]
    weights, _ = rows(net, main.hyper_shapes_learned)
    assert all((weights[i] == 3.0).all() for i in at)


def test_omitted_values_have_their_defaults():
    """The variance of one tensor does not change its mean or other tensors."""
    torch.manual_seed(0)
    plain = build()
    plain.apply_hyperfan_init(generator=torch.Generator().manual_seed(1))
    other = build()
    other.apply_hyperfan_init(w_var=[4.0, None, None, None], generator=torch.Generator().manual_seed(1))
    (a, _), (b, _) = rows(plain), rows(other)
    assert close(b[0], 4.0)
    assert all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_one_generator_one_result():
    nets = [build(), build()]
    for net in nets:
        net.apply_hyperfan_init(generator=torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(*(n.layer_weight_tensors for n in nets), strict=True))


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"method": "both"}, "method"),
        ({"uncond_var": -1.0}, "uncond_var"),
        ({"uncond_var": 0.0, "cond_var": 0.0}, "uncond_var and cond_var"),
        ({"mnet": MLP(3, 2, (4,), verbose=False)}, "mnet"),
        ({"mnet": 3}, "mnet"),
        ({"w_val": [1.0]}, "w_val"),
        ({"b_var": 3}, "b_var"),
        ({"w_var": {"weight": -1.0}}, "w_var"),
    ],
)
def test_bad_arguments(options, argument):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
        build().apply_hyperfan_init(**options)


def test_weights_must_be_kept():
    with pytest.raises(ValueError, match="hypernetwork: expected one that keeps its unconditional weights"):
        build(no_uncond_weights=True).apply_hyperfan_init()
    main = ModuleMainNet(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)))
    net = HMLP(main.param_shapes, use_bias=False, verbose=False)
    with pytest.raises(ValueError, match="use_bias: expected True"):
        net.apply_hyperfan_init(mnet=main, b_val={"weight": 2.0})


# Chunks.


def chunked(chunk_size=300, **kwargs):
    torch.manual_seed(0)
    options = {"chunk_emb_size": 400, "uncond_in_size": 3, "cond_in_size": 5, "layers": [20], "verbose": False}
    return ChunkedHMLP(SHAPES, chunk_size, **{**options, **kwargs})


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("method", ["in", "out", "harmonic"])
def test_variances_of_chunk_embeddings(method, normal):
    """An embedding has ((n + e) v - n u) / e, with v averaged over the weights of its chunk."""
    net = chunked()
    net.apply_chunked_hyperfan_init(method, uncond_var=0.01, cond_var=0.002, cemb_normal_init=normal)
    u = (3 * 0.01 + 5 * 0.002) / 8
    values = []
    for (out, inn), size in (((60, 40), 60), ((50, 60), 50)):
        mean = 2 / (inn / 2 + out / 2)
        values += [{"in": 2 / inn, "out": 2 / out, "harmonic": mean}[method]] * (out * inn) + [1 / (3 * inn)] * size
    values += [values[-1]] * (-len(values) % 300)
    for embedding, wanted in zip(net.get_chunk_emb(), torch.tensor(values).view(-1, 300).mean(1), strict=True):
        assert close(embedding.detach(), ((8 + 400) * wanted.item() - 8 * u) / 400)
        assert normal or embedding.abs().max() <= math.sqrt(3 * ((8 + 400) * wanted.item() - 8 * u) / 400) + 1e-6


def test_target_variances_as_arguments():
    net = chunked(2400, cond_chunk_embs=True, num_cond_embs=2)
    net.apply_chunked_hyperfan_init(target_vars=[5.0, None, None, 0.5], uncond_var=0.0, cond_var=0.0)
    for cond in range(2):
        assert close(net.get_chunk_emb(0, cond).detach(), 408 * 5.0 / 400)


def test_small_variances_are_raised_with_a_warning(caplog):
    net = chunked()
    with caplog.at_level(logging.INFO, logger="bayeshnet"):
        net.apply_chunked_hyperfan_init(uncond_var=100.0, eps=1e-3)
    assert "was raised to eps = 0.001" in caplog.text
    assert "should have a variance below" in caplog.text
    assert close(net.get_chunk_emb()[0].detach(), 1e-3)


@pytest.mark.parametrize("sizes", [(3, 5), (0, 9)])
def test_the_logged_variance_is_the_largest_that_raises_no_embedding(caplog, sizes):
    """Inputs a little below it need no help, and a little above it they do."""
    warned = []
    for share in (0.0, 0.999, 1.001):
        if share:
            largest = float(re.search(r"variance below (\S+) \(", caplog.text)[1])
            caplog.clear()
        with caplog.at_level(logging.INFO, logger="bayeshnet"):
            variance = share and share * largest
            net = chunked(chunk_emb_size=4, uncond_in_size=sizes[0], cond_in_size=sizes[1])
            net.apply_chunked_hyperfan_init(uncond_var=variance, cond_var=variance, eps=0.0)
        warned.append("was raised" in caplog.text)
    assert warned == [False, False, True]


@pytest.mark.parametrize(
    ("net", "options", "argument"),
    [
        (chunked(), {"method": "both"}, "method"),
        (chunked(), {"target_vars": [1.0]}, "target_vars"),
        (chunked(), {"target_vars": {"weight": -1.0}}, "target_vars"),
        (chunked(), {"eps": -1.0}, "eps"),
        (chunked(use_batch_norm=True), {}, "use_batch_norm"),
        (chunked(no_uncond_weights=True), {}, "hypernetwork"),
        (chunked(cond_chunk_embs=True, no_cond_weights=True), {}, "hypernetwork"),
    ],
)
def test_bad_arguments_of_chunks(net, options, argument):
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
        net.apply_chunked_hyperfan_init(**options)
