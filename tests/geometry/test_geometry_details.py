"""Properties of geometries that the contract leaves out: activations, accuracy, sharing, memory, transforms."""

import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bayeshnet import speed
from bayeshnet.geometry import ConstantGeometry, JacobianGeometry, Selection, SelectionGeometry
from bayeshnet.geometry import linear_head as linear_head
from bayeshnet.hnets import HMLP, ChunkedHMLP, HDeconv
from bayeshnet.layers.activations import GaussianBump
from bayeshnet.layers.elementwise import value_and_slope

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def no_weights_are_built():
    """Geometries go the way of long weight vectors, however short they are here."""
    with speed.using(short_weights=0):
        yield


def hmlp(**kwargs):
    torch.manual_seed(0)
    options = {"uncond_in_size": 3, "cond_in_size": 0, "layers": [6, 5], "activation_fn": nn.Tanh(), "verbose": False}
    return HMLP([[4, 3], [5]], **{**options, **kwargs}).double()


ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.3),
    nn.ELU(1.7),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(2.0, 1.5),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
    GaussianBump(),
    nn.SELU(),
    nn.Mish(),
    nn.Hardtanh(),
    nn.Softsign(),
    torch.sin,
    torch.tanh,
    torch.relu,
    F.relu,
    F.gelu,
    F.elu,
    F.leaky_relu,
    F.softplus,
    F.silu,
    torch.sigmoid,
]


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda f: getattr(f, "__name__", type(f).__name__))
def test_slopes(act):
    """Value, slope and the derivative of the slope of elementwise activations, against autograd."""
    x = torch.linspace(-3, 3, 21, dtype=DOUBLE, requires_grad=True)
    value, slope = value_and_slope(act, x)
    (wanted,) = torch.autograd.grad(act(x).sum(), x, create_graph=True)
    torch.testing.assert_close(value, act(x))
    torch.testing.assert_close(slope, wanted)
    if slope.requires_grad:
        second = torch.autograd.grad(slope.sum(), x)[0]
        torch.testing.assert_close(second, torch.autograd.grad(wanted.sum(), x)[0])


def test_unknown_activations_are_not_taken_for_elementwise():
    x = torch.zeros(2, 3)
    for act in (nn.Softmax(dim=1), lambda t: t, nn.Sequential(nn.ReLU()), type("Mine", (nn.ReLU,), {})()):
        assert value_and_slope(act, x) is None


@pytest.mark.parametrize(
    "act",
    [nn.PReLU(5, 0.3), nn.Softmax(dim=1), nn.LayerNorm(5), lambda x: x * x.mean(1, True)],
    ids=["prelu", "softmax", "layernorm", "lambda"],
)
def test_any_activation(act):
    """Activations that mix units or have parameters: Gram matrix and vector-Jacobian product, with gradients."""
    net = hmlp(layers=[5, 5], activation_fn=act)
    g, z, v = net.geometry(), torch.randn(2, 3, dtype=DOUBLE), torch.randn(2, 17, dtype=DOUBLE)
    oracle = JacobianGeometry(lambda x: net(x, ret_format="flattened"), 3, 17, like=z)
    for ask in (lambda x: x.gram(z), lambda x: x.vjp(z, v), lambda x: x.jvp(z, z)):
        torch.testing.assert_close(ask(g), ask(oracle))
        grads = [
            torch.autograd.grad(ask(x).pow(2).sum(), list(net.parameters()), allow_unused=True) for x in (g, oracle)
        ]
        for a, b in zip(*grads, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


# Accuracy.


@pytest.mark.parametrize("per_weight", [False, True])
def test_distances_do_not_cancel(per_weight):
    """In float32, with large weights: the distance to a nearby center is right, though its square is tiny."""
    torch.manual_seed(0)
    net = HMLP([[200, 50]], 4, 0, layers=[30], activation_fn=nn.Tanh(), verbose=False)
    with torch.no_grad():
        net.params["layer3_weight"] *= 100
        net.params["layer3_bias"] += 300
    z = torch.randn(1, 4)
    center = net(z, ret_format="flattened")[0].detach() + 0.01 * torch.randn(10_000)
    precision = torch.rand(10_000) if per_weight else 2.0
    near = z + 1e-5
    exact = net.double()
    truth = exact(near.double(), ret_format="flattened")[0]
    wanted = ((truth - center.double()).square() * precision).sum()
    between = ((truth - exact(z.double(), ret_format="flattened")[0]).square() * precision).sum()
    g = net.float().geometry()
    torch.testing.assert_close(g.sqdist(near, center, precision)[0].double(), wanted, rtol=1e-3, atol=0)
    torch.testing.assert_close(g.sqdist(near, center.expand(1, -1), precision)[0].double(), wanted, rtol=1e-3, atol=0)
    torch.testing.assert_close(g.sqdist_between(near, z, precision)[0].double(), between, rtol=0.05, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-20])
def test_degenerate_heads(scale):
    """A head of zeros, of equal columns, or with more units than weights has a singular Gram matrix."""
    net = hmlp(layers=[40])
    with torch.no_grad():
        net.params["layer3_weight"] *= scale
        net.params["layer3_weight"][:, 1] = net.params["layer3_weight"][:, 0]
    z, center = torch.randn(2, 3, dtype=DOUBLE), torch.randn(17, dtype=DOUBLE)
    for precision in (1.0, torch.zeros(17, dtype=DOUBLE), torch.rand(17, dtype=DOUBLE)):
        wanted = ((net(z, ret_format="flattened") - center).square() * precision).sum(-1)
        torch.testing.assert_close(net.geometry().sqdist(z, center, precision), wanted)


SHORT = {
    "hmlp": lambda: hmlp(cond_in_size=2),
    "no-bias": lambda: hmlp(use_bias=False),
    "chunked": lambda: ChunkedHMLP(
        [[4, 3], [5]], 7, 2, uncond_in_size=3, layers=[6], activation_fn=nn.Tanh(), cond_chunk_embs=True, verbose=False
    ).double(),
}


@pytest.mark.parametrize("name", SHORT)
def test_short_weight_vectors_are_built(name):
    """Both ways of Gram matrices and distances agree, values and gradients of parameters, latents and precisions."""
    net = SHORT[name]()
    z, center, row = (torch.randn(*s, dtype=DOUBLE, requires_grad=True) for s in ((4, 3), (17,), (4, 17)))
    weights = torch.rand(17, dtype=DOUBLE, requires_grad=True)
    for precision, c in ((1.0, None), (weights.mean(), center), (weights, None), (weights, row)):
        found = []
        for few in (0, 2**18):
            g = net.geometry(cond_id=0 if net.num_known_conds else None)
            with speed.using(short_weights=few):
                total = torch.cat([g.sqdist(z, c, precision), torch.logdet(g.gram(z, precision) + torch.eye(3))])
            total = (total * torch.arange(1.0, 9.0)).sum()
            leaves = [*net.parameters(), z, center, row, weights]
            found.append([total, *torch.autograd.grad(total, leaves, allow_unused=True)])
        for a, b in zip(*found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda **kwargs: HMLP([[3, 2], [4]], layers=[5, 4], **kwargs),
        lambda **kwargs: HDeconv([[3, 2], [4]], (4, 4), num_layers=3, num_filters=[8, 8], sa_units=(0,), **kwargs),
    ],
    ids=["head", "jacobian"],
)
def test_spectral_norms_in_training(build):
    """They are refined once for a geometry, whose map then stays the same."""
    net = build(uncond_in_size=2, cond_in_size=0, use_spectral_norm=True, activation_fn=nn.Tanh(), verbose=False)
    net, z = net.double().train(), torch.randn(2, 2, dtype=DOUBLE)
    before = {k: v.clone() for k, v in net.named_buffers()}
    g = net.geometry()
    first = {k: v.clone() for k, v in net.named_buffers()}
    assert any(not torch.equal(v, before[k]) for k, v in first.items())
    gram, value = g.gram(z), g(z)
    assert torch.equal(g(z), value)
    assert all(torch.equal(v, first[k]) for k, v in net.named_buffers())
    assert all(m.training for m in net.modules())
    net.eval()  # the same estimates of the norms
    torch.testing.assert_close(value, net(z, ret_format="flattened"))
    J = torch.stack(
        [torch.autograd.functional.jacobian(lambda x: net(x[None], ret_format="flattened")[0], r) for r in z]
    )
    torch.testing.assert_close(gram, J.mT @ J)


# What is shared.


def test_gram_matrices_are_computed_once(monkeypatch):
    calls = []
    apply = linear_head.HeadGram.apply
    monkeypatch.setattr(linear_head.HeadGram, "apply", lambda *args: (calls.append(1), apply(*args))[1])
    net = hmlp()
    g, z, sigma = net.geometry(), torch.randn(2, 3, dtype=DOUBLE), torch.rand(17, dtype=DOUBLE)
    for _ in range(3):
        g.gram(z), g.sqdist(z), g.sqdist_between(z, z + 1, 3.0), g.gram(z, 7.0), g.gram(z, torch.tensor(2.0))
    assert len(calls) == 1  # one number is a common factor
    for _ in range(3):
        g.gram(z, sigma), g.sqdist(z, None, sigma)
    assert len(calls) == 2
    g.gram(z, sigma.clone())
    assert len(calls) == 3


def test_a_changed_head_or_precision_is_noticed():
    net, z, sigma = hmlp(), torch.randn(2, 3, dtype=DOUBLE), torch.rand(17, dtype=DOUBLE)
    g = net.geometry()
    ask = [lambda x: x.gram(z), lambda x: x.sqdist(z), lambda x: x.gram(z, sigma), lambda x: x.sqdist(z, None, sigma)]
    for change in (net.params["layer5_weight"], net.params["layer5_bias"], sigma, net.params["layer1_weight"]):
        before = [a(g).detach() for a in ask]
        with torch.no_grad():
            change += 1
        after = [a(g) for a in ask]
        assert any(not torch.allclose(a, b) for a, b in zip(before, after, strict=True))
        for a, fresh in zip(after, [a(net.geometry()) for a in ask], strict=True):
            torch.testing.assert_close(a, fresh)


def test_what_was_asked_without_gradients_does_not_lack_them_later():
    net, z = hmlp(), torch.randn(2, 3, dtype=DOUBLE)
    g = net.geometry()
    with torch.no_grad():
        g.gram(z), g.sqdist(z)
    grads = torch.autograd.grad(g.gram(z).sum() + g.sqdist(z).sum(), [net.params["layer5_weight"]])
    assert grads[0].abs().sum() > 0


def test_backward_twice_through_one_geometry():
    net, z = hmlp(), torch.randn(2, 3, dtype=DOUBLE)
    g = net.geometry()
    parameters = list(net.parameters())
    first, second = (torch.autograd.grad(g.gram(z).sum() + g.sqdist(z).sum(), parameters) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_update_between_forward_and_backward_is_refused():
    net, z = hmlp(), torch.randn(2, 3, dtype=DOUBLE)
    for ask in (lambda g: g.gram(z), lambda g: g.sqdist(z)):
        value = ask(net.geometry()).sum()
        with torch.no_grad():
            net.params["layer5_weight"] += 1
        with pytest.raises(RuntimeError, match="expected unchanged tensors in the backward pass"):
            value.backward()


def chunked():
    torch.manual_seed(0)
    options = {"uncond_in_size": 3, "cond_in_size": 0, "layers": [4], "activation_fn": nn.Tanh(), "verbose": False}
    return ChunkedHMLP([[4, 3], [5]], 5, 2, **options).double()


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize("per_weight", [False, True])
def test_second_derivatives(build, per_weight):
    net = build()
    z, center = torch.randn(2, 3, dtype=DOUBLE), torch.randn(17, dtype=DOUBLE, requires_grad=True)
    precision = torch.rand(17 if per_weight else (), dtype=DOUBLE).requires_grad_()
    leaves = [*net.parameters(), center, precision]
    oracle = JacobianGeometry(lambda x: net(x, ret_format="flattened"), 3, 17, like=z)
    found = []
    for g in (net.geometry(), oracle):
        value = g.gram(z, precision).pow(2).sum() + g.sqdist(z, center, precision).sin().sum()
        grads = torch.autograd.grad(value, leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(x.square().sum() for x in grads), leaves))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("per_weight", [False, True])
def test_blocks_of_chunks(per_weight):
    """Treating chunks block by block, each recomputed in the backward pass, changes nothing."""
    torch.manual_seed(0)
    net = ChunkedHMLP(
        [[30]], 4, 2, uncond_in_size=3, cond_in_size=0, layers=[4], activation_fn=nn.Tanh(), verbose=False
    ).double()
    z = torch.randn(5, 3, dtype=DOUBLE, requires_grad=True)
    precision = torch.rand(30, dtype=DOUBLE, requires_grad=True) if per_weight else 2.0
    leaves = [*net.parameters(), z] + [precision] * per_weight
    found = []
    for block in (2**21, 1, 3 * 5 * 3 * 4):
        with speed.using(jacobian_block=block, row_block=block):
            gram = net.geometry().gram(z, precision)
            used = [p for p in leaves if p is not net.params["layer3_bias"]]
            found.append([gram, *torch.autograd.grad(torch.logdet(torch.eye(3) + gram).sum(), used)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b)


def test_transforms():
    """Functions of the latent may be vmapped and differentiated by torch.func."""
    net = hmlp()
    g, z = net.geometry(), torch.randn(4, 3, dtype=DOUBLE)
    torch.testing.assert_close(torch.func.vmap(g.gram)(z), g.gram(z))
    torch.testing.assert_close(torch.func.vmap(g.sqdist)(z), g.sqdist(z))
    wanted = 2 * g.vjp(z[0], g(z[0]))
    torch.testing.assert_close(torch.func.grad(net.geometry().sqdist)(z[0]), wanted)
    torch.testing.assert_close(torch.func.jacfwd(net.geometry())(z[0]), g.rows(z[0]))


def test_batch_shapes():
    net = hmlp()
    g = net.geometry()
    z, v = torch.randn(2, 1, 3, dtype=DOUBLE), torch.randn(4, 17, dtype=DOUBLE)
    assert g(z).shape == (2, 1, 17)
    assert g(z[0, 0]).shape == (17,)
    assert g.gram(z).shape == (2, 1, 3, 3)
    assert g.sqdist(z, v).shape == g.inner(z, v).shape == (2, 4)
    assert g.sqdist_between(z, z.mT.reshape(1, 2, 3)).shape == (2, 2)
    assert g.vjp(z, v).shape == (2, 4, 3)
    assert g.jvp(z, z[:, 0]).shape == (2, 2, 17)
    assert g.rows(z, torch.tensor([1])).shape == (2, 1, 1, 3)
    assert g.draw_latent(5, torch.Generator().manual_seed(0)).shape == (5, 3)


def by_jacobians(net):
    return JacobianGeometry(lambda z: net(z, ret_format="flattened"), 3, 17, like=torch.empty(0, dtype=DOUBLE))


@pytest.mark.parametrize("make", [lambda net: net.geometry(), by_jacobians], ids=["head", "jacobian"])
def test_bad_input(make):
    g = make(hmlp())
    z = torch.zeros(3, dtype=DOUBLE)
    bad = {
        "z": [lambda: g(z[:2]), lambda: g.gram(z[:2]), lambda: g.rows(z[:2]), lambda: g.sqdist(z[:2])],
        "precision": [lambda: g.gram(z, torch.ones(3)), lambda: g.sqdist(z, None, "1"), lambda: g.gram(z, None)],
        "center": [lambda: g.sqdist(z, torch.zeros(3))],
        "v": [lambda: g.vjp(z, torch.zeros(3)), lambda: g.inner(z, torch.zeros(3))],
        "t": [lambda: g.jvp(z, torch.zeros(4))],
    }
    for argument, calls in bad.items():
        for call in calls:
            with pytest.raises((ValueError, TypeError), match=f"^{argument}: expected"):
                call()


# Jacobians of any function.


def test_jacobians_in_blocks_and_one_by_one():
    net = hmlp()
    z, precision = torch.randn(7, 3, dtype=DOUBLE, requires_grad=True), torch.rand(17, dtype=DOUBLE, requires_grad=True)
    found = []
    for options in ({}, {"chunk_size": 2}, {"vectorize": False}, {"chunk_size": 3, "vectorize": False}):
        g = JacobianGeometry(lambda x: net(x, ret_format="flattened"), 3, 17, like=z, **options)
        gram = g.gram(z, precision)
        grads = torch.autograd.grad(gram.sin().sum(), [net.params["layer1_weight"], z, precision])
        found.append([gram, *grads])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b)


# Selections.


def test_selection_with_repeats_and_gaps():
    """Sources that are taken twice, once or never; distances to several centers of one source."""
    torch.manual_seed(0)
    nets = [hmlp(), hmlp(layers=[4])]
    parts = [nets[0].geometry(), nets[1].geometry(), ConstantGeometry(torch.randn(4, dtype=DOUBLE), 3)]
    index = torch.tensor([0, 0, 5, 3, 20, 33, 16, 34, 20, 35, 35])
    g = SelectionGeometry(parts, Selection.of(index, [17, 17, 4]))
    oracle = JacobianGeometry(lambda z: torch.cat([p(z) for p in parts], -1)[:, index], 3, 11, like=parts[2].value)
    z, other = torch.randn(2, 4, 3, dtype=DOUBLE)
    v, precision = (
        torch.randn(4, 11, dtype=DOUBLE, requires_grad=True),
        torch.rand(11, dtype=DOUBLE, requires_grad=True),
    )
    for p in (3.0, precision):
        for ask in (
            lambda x, p=p: x.gram(z, p),
            lambda x, p=p: x.sqdist(z, None, p),
            lambda x, p=p: x.sqdist(z, v[0], p),
            lambda x, p=p: x.sqdist(z, v, p),
            lambda x, p=p: x.sqdist_between(z, other, p),
            lambda x: x.inner(z, v),
            lambda x: x.inner_between(z, other, v),
            lambda x: x.vjp(z, v),
            lambda x: x.jvp(z, other),
            lambda x: x(z),
            lambda x: x.rows(z),
            lambda x: x.rows(z, torch.tensor([9, 0, 4])),
        ):
            torch.testing.assert_close(ask(g), ask(oracle))
    grads = [torch.autograd.grad(x.sqdist(z, v, precision).sum(), [v, precision]) for x in (g, oracle)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_selection_refuses_other_parts():
    with pytest.raises(ValueError, match="parts: expected geometries of"):
        SelectionGeometry([ConstantGeometry(torch.zeros(3), 2)], Selection.of(torch.tensor([0]), [4]))


# Memory.

PEAK = """
    import torch
    from bayeshnet.hnets import HMLP

    def status(key):
        return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

    def kl(net, center):
        g = net.geometry()
        z = g.draw_latent(100)
        return g.sqdist(z, center, 1.0).mean() - torch.logdet(torch.eye(32) + g.gram(z, 100.0)).mean()

    kl(HMLP([[100]], 32, 0, layers=[64, 64]), None).backward()
    net = HMLP([[1_000_000]], 32, 0, layers=[64, 64])
    center = torch.randn(1_000_000) if {center} else None
    base = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    kl(net, center).backward()
    grads = sum(p.grad.numel() for p in net.parameters()) * 4
    print((status("VmHWM") - base - grads) / 4e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize("center", [False, True])
def test_peak_memory(center):
    """Beyond parameters and gradients a KL of a million weights takes less than ten vectors of weights."""
    code = textwrap.dedent(PEAK.format(center=center))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 10


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("needs", ["bias", "center", "weight", "precision"])
def test_what_is_kept_without_gradients_is_not_taken_with_them(needs, without):
    """Matrices of a frozen head are shared by both modes; gradients to anything else are as of a fresh geometry."""
    net = hmlp().requires_grad_(False)
    weight, bias = list(net.parameters())[-2:]
    z, center = torch.randn(4, 3, dtype=DOUBLE), torch.randn(17, dtype=DOUBLE)
    precision = torch.rand(17, dtype=DOUBLE) + 0.5
    leaf = {"bias": bias, "center": center, "weight": weight, "precision": precision}[needs].requires_grad_()
    used = net.geometry()
    with without():
        used.sqdist(z, center, precision)
        used.gram(z, precision)
    grads = []
    for geometry in (used, net.geometry()):
        total = geometry.sqdist(z, center, precision).sum() + geometry.gram(z, precision).square().sum()
        grads.append(torch.autograd.grad(total, leaf)[0])
    torch.testing.assert_close(*grads)
    assert grads[0].abs().max() > 0


def test_products_of_a_hypernetwork_are_those_of_its_jacobian():
    hnet, z, v = hmlp(), torch.randn(2, 3, dtype=DOUBLE), torch.randn(2, 17, dtype=DOUBLE)

    def flat(one):
        return torch.cat([w.flatten() for w in hnet(uncond_input=one[None])])

    jacobians = torch.stack([torch.autograd.functional.jacobian(flat, one) for one in z])
    torch.testing.assert_close(hnet.inner(z, v), torch.stack([flat(one) @ row for one, row in zip(z, v, strict=True)]))
    torch.testing.assert_close(hnet.vjp(z, v), torch.einsum("bpn,bp->bn", jacobians, v))
    torch.testing.assert_close(hnet.rows(z), jacobians)
    torch.testing.assert_close(hnet.rows(z, torch.tensor([16, 2])), jacobians[:, [16, 2]])
