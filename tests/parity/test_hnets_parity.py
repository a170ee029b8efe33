"""The documented hypernetworks agree with hypnettorch 0.0.4: outputs, gradients, lists, initial variances."""

import contextlib
import io
import itertools
import warnings

import pytest
import torch
from torch import nn

from bayeshnet import hnets as ours
from bayeshnet import mnets

pytest.importorskip("hypnettorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import hypnettorch.hnets as theirs
    from hypnettorch.hnets import (
        hnet_container,
        hnet_perturbation_wrapper,
        structured_hmlp_examples,
        structured_mlp_hnet,
    )
    from hypnettorch.mnets import mlp, resnet, wide_resnet

THEIRS = {
    "HMLP": theirs.HMLP,
    "ChunkedHMLP": theirs.ChunkedHMLP,
    "StructuredHMLP": structured_mlp_hnet.StructuredHMLP,
    "HContainer": hnet_container.HContainer,
}
SHAPES = [[4, 3], [4], [2, 4], [2]]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
FORMATS = ("flattened", "sequential", "squeezed")


def quiet(build, *args, **kwargs):
    """Call a function without its output and warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(*args, **kwargs)


def contain(hnets, uncond, cond):
    return [*hnets[0], *uncond, hnets[1][0], *cond]


def make(package, name, **kwargs):
    """The same hypernetwork of bayeshnet or of hypnettorch."""
    cls = getattr(ours, name) if package is ours else THEIRS[name]
    kwargs = {"verbose": False, **kwargs}
    if name == "StructuredHMLP":
        return quiet(
            cls, SHAPES, [[[4, 3]], [[2, 2]], [[4]], [[2]]], [1, 2, 1, 1], 3, {"layers": [5]}, reorder, **kwargs
        )
    if name != "HContainer":
        return quiet(cls, SHAPES, *([6] if name == "ChunkedHMLP" else []), **kwargs)
    common = {"uncond_in_size": 2, "cond_in_size": 3, "layers": [5], "num_cond_embs": 2}
    inner = [make(package, "HMLP", **common), make(package, "ChunkedHMLP", chunk_emb_size=3, **common)]
    return quiet(
        cls,
        [*SHAPES, [3], *SHAPES[:1], [2]],
        contain,
        inner,
        uncond_param_shapes=[[3]],
        cond_param_shapes=[[2]],
        num_cond_embs=2,
        **kwargs,
    )


def reorder(chunks):
    """Chunks: a matrix, two halves of another one, two biases."""
    return [chunks[0][0], chunks[3][0], torch.cat([chunks[1][0], chunks[2][0]], dim=1), chunks[4][0]]


CASES = {
    "hmlp-conditions": ("HMLP", {"num_cond_embs": 3, "cond_in_size": 5, "layers": [6, 7]}),
    "hmlp-both": ("HMLP", {"uncond_in_size": 2, "num_cond_embs": 2, "activation_fn": nn.Tanh()}),
    "hmlp-linear": ("HMLP", {"uncond_in_size": 2, "num_cond_embs": 2, "layers": [], "use_bias": False}),
    "hmlp-batch-norm": ("HMLP", {"uncond_in_size": 2, "num_cond_embs": 2, "layers": (5, 4), "use_batch_norm": True}),
    "hmlp-uncond": ("HMLP", {"uncond_in_size": 3, "cond_in_size": 0, "num_cond_embs": 0, "activation_fn": None}),
    "chunked": ("ChunkedHMLP", {"num_cond_embs": 2, "layers": [6, 5]}),
    "chunked-both": ("ChunkedHMLP", {"uncond_in_size": 2, "num_cond_embs": 2, "layers": [6], "chunk_emb_size": 3}),
    "chunked-linear": ("ChunkedHMLP", {"uncond_in_size": 2, "num_cond_embs": 2, "layers": []}),
    "chunked-cond": ("ChunkedHMLP", {"cond_chunk_embs": True, "uncond_in_size": 2, "num_cond_embs": 2, "layers": [5]}),
    "chunked-only-cond": ("ChunkedHMLP", {"cond_chunk_embs": True, "cond_in_size": 0, "num_cond_embs": 2}),
    "chunked-batch-norm": ("ChunkedHMLP", {"num_cond_embs": 2, "layers": [5], "use_batch_norm": True}),
    "structured": ("StructuredHMLP", {"num_cond_embs": 2, "uncond_in_size": 2, "cond_in_size": 3}),
    "structured-cond": ("StructuredHMLP", {"num_cond_embs": 2, "cond_chunk_embs": True, "cond_in_size": 0}),
    "container": ("HContainer", {}),
}


@pytest.fixture(params=list(CASES))
def case(request):
    return CASES[request.param]


def build(case, dtype):
    """The pair with the same parameters."""
    mine, other = (make(package, case[0], **case[1]).to(dtype) for package in (ours, theirs))
    for hnet in getattr(other, "internal_hnets", []):
        hnet.to(dtype)
    assert mine.param_shapes == [list(s) for s in other.param_shapes]
    generator = torch.Generator().manual_seed(3)
    for a, b in zip(mine.internal_params, other.internal_params, strict=True):
        a.data = torch.randn(a.shape, generator=generator, dtype=torch.float64).to(dtype)
        b.data = a.data.clone()
    return mine, other


def inputs(net, dtype, batch):
    """Forward arguments in each way of passing a condition."""
    z = {"uncond_input": torch.randn(batch, net.uncond_in_size, dtype=dtype)} if net.uncond_in_size else {}
    if not net.num_known_conds:
        return [z]
    ids = [i % net.num_known_conds for i in range(batch)]
    ways = [{**z, "cond_id": ids}]
    if batch == 1:
        ways.append({**z, "cond_id": 1})
    if net.uncond_in_size and not getattr(net, "cond_chunk_embs", False):
        ways.append({**z, "cond_id": 1})  # one condition for the whole batch, which theirs refuses in the other case
    if getattr(net, "cond_in_size", 0) and not getattr(net, "cond_chunk_embs", False):
        own = {"cond_id": ids} if type(net) is ours.HContainer else {}
        ways.append({**z, **own, "cond_input": torch.randn(batch, net.cond_in_size, dtype=dtype)})
    return ways


def tensors(out, ret_format):
    if ret_format == "flattened":
        return [out]
    return [t for sample in out for t in (sample if isinstance(sample, list) else [sample])]


def agree(got, want, dtype):
    """Equal to the tolerance of ``dtype``, relative to the largest entry (or 1); an absent gradient counts as zero."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        a, b = torch.broadcast_tensors(a, b)
        scale = b.detach().abs().max().clamp(min=1.0)
        assert (a - b).detach().abs().max() <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_and_gradients(case, dtype, batch):
    mine, other = build(case, dtype)
    for train, kwargs in itertools.product((True, False), inputs(mine, dtype, batch)):
        mine.train(train), other.train(train)
        if mine.batchnorm_layers is not None and train and batch == 1:
            continue
        for ret_format in FORMATS:
            got = tensors(mine(**kwargs, ret_format=ret_format), ret_format)
            want = tensors(quiet(other, **kwargs, ret_format=ret_format), ret_format)
            agree(got, want, dtype)
        factors = [torch.randn_like(t) for t in got]
        grads = []
        for net, out in ((mine, got), (other, want)):
            total = sum((t * f).sum() for t, f in zip(out, factors, strict=True))
            grads.append(torch.autograd.grad(total, list(net.internal_params), allow_unused=True))
        agree(*([torch.zeros(()) if g is None else g for g in gs] for gs in grads), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_weights_from_outside(case, dtype):
    mine, other = build(case, dtype)
    mine.eval(), other.eval()
    values = [torch.randn(s, dtype=dtype, requires_grad=True) for s in mine.param_shapes]
    uncond = [values[i] for i in mine.unconditional_param_shapes_ref]
    cond = [values[i] for i in mine.conditional_param_shapes_ref]
    ways = [("list", values), ("uncond", {"uncond_weights": uncond})]
    if cond:
        ways += [("cond", {"cond_weights": cond}), ("both", {"uncond_weights": uncond, "cond_weights": cond})]
    for (_, weights), kwargs in itertools.product(ways, inputs(mine, dtype, 2)):
        got, want = (
            net(**kwargs, weights=dict(weights) if isinstance(weights, dict) else weights, ret_format="flattened")
            for net in (mine, other)
        )
        agree([got], [want], dtype)
        factor = torch.randn_like(got)
        a, b = (torch.autograd.grad((out * factor).sum(), values, allow_unused=True) for out in (got, want))
        assert [g is None for g in a] == [g is None for g in b]
        agree([g for g in a if g is not None], [g for g in b if g is not None], dtype)


EXTERNAL = [
    "hmlp-both",
    "hmlp-conditions",
    "hmlp-batch-norm",
    "chunked-both",
    "chunked-cond",
    "structured",
    "container",
]
MISSING = [("no_uncond_weights",), ("no_cond_weights",), ("no_uncond_weights", "no_cond_weights")]


@pytest.mark.parametrize("name", EXTERNAL)
@pytest.mark.parametrize("missing", MISSING, ids=["uncond", "cond", "both"])
def test_weights_that_are_not_kept(name, missing):
    """A network with tensors that are passed in, against one of hypnettorch whose parameters have the same values."""
    other = build(CASES[name], torch.float64)[1].eval()
    mine = make(ours, CASES[name][0], **CASES[name][1], **dict.fromkeys(missing, True)).double().eval()
    assert mine.param_shapes == [list(s) for s in other.param_shapes]
    values = [p.detach().clone().requires_grad_() for p in other.internal_params]
    learned = mine.hyper_shapes_learned_ref
    mine.overwrite_internal_params(
        [v for i, v in enumerate(values) if i not in learned]
    ) if mine.internal_params else None
    weights = [values[i] for i in learned]
    for kwargs in inputs(mine, torch.float64, 2):
        got, want = mine(**kwargs, weights=weights, ret_format="flattened"), other(**kwargs, ret_format="flattened")
        agree([got], [want], torch.float64)
        a = torch.autograd.grad(got.sin().sum(), weights, allow_unused=True)
        b = torch.autograd.grad(want.sin().sum(), [other.internal_params[i] for i in learned], allow_unused=True)
        assert [g is None for g in a] == [g is None for g in b]
        agree([g for g in a if g is not None], [g for g in b if g is not None], torch.float64)


@pytest.mark.parametrize("name", ["hmlp-both", "chunked-both", "chunked-cond"])
def test_lists_of_weights_that_are_not_kept(name):
    mine, other = (make(p, CASES[name][0], **CASES[name][1], **dict.fromkeys(MISSING[2], True)) for p in (ours, theirs))
    assert mine.hyper_shapes_learned == [list(s) for s in other.hyper_shapes_learned]
    assert mine.hyper_shapes_learned_ref == other.hyper_shapes_learned_ref


def test_lists(case):
    mine, other = build(case, torch.float64)
    for attribute in (
        "unconditional_param_shapes",
        "conditional_param_shapes",
        "unconditional_param_shapes_ref",
        "conditional_param_shapes_ref",
        "unconditional_params_ref",
        "num_outputs",
        "num_known_conds",
        "target_shapes",
        "num_params",
        "num_internal_params",
        "has_fc_out",
        "has_linear_out",
        "mask_fc_out",
        "hyper_shapes_distilled",
    ):
        assert getattr(mine, attribute) == getattr(other, attribute), attribute
    for a, b in zip(mine.param_shapes_meta, other.param_shapes_meta, strict=True):
        assert {k: a[k] for k in ("name", "layer")} == {k: b[k] for k in ("name", "layer")}


@pytest.mark.parametrize("uncond_in_size", [0, 2])
@pytest.mark.parametrize("cond_in_size", [0, 3])
def test_chunk_embeddings_given_without_known_conditions(uncond_in_size, cond_in_size):
    """Documented and refused by theirs; one condition whose embeddings are not used tells what it means."""
    sizes = {"uncond_in_size": uncond_in_size, "cond_in_size": cond_in_size, "layers": [5]}
    known, other = build(("ChunkedHMLP", {"cond_chunk_embs": True, "num_cond_embs": 1, **sizes}), torch.float64)
    free = make(ours, "ChunkedHMLP", cond_chunk_embs=True, num_cond_embs=0, **sizes).double()
    assert free.num_known_conds == 0
    assert free.conditional_param_shapes == []
    assert free.param_shapes == known.unconditional_param_shapes
    for mine, same in zip(free.internal_params, known.unconditional_params, strict=True):
        mine.data = same.data.clone()
    embeddings = torch.randn(3, free.num_chunks, free.chunk_emb_size, dtype=torch.float64)
    kwargs = {"uncond_input": torch.randn(3, 2).double()} if uncond_in_size else {}
    kwargs |= {"cond_input": torch.randn(3, 3).double()} if cond_in_size else {}
    ways = [net(**kwargs, weights={"chunk_embs": embeddings}, ret_format="flattened") for net in (free, known, other)]
    agree(ways[:2], ways[1:], torch.float64)
    with pytest.raises(ValueError, match="cond_id: expected a condition, or weights"):
        free(**kwargs)
    with pytest.raises(ValueError, match="cond_id: expected condition identifiers none"):
        free(cond_id=0, **{key: value for key, value in kwargs.items() if key == "uncond_input"})


def test_chunk_embeddings_given():
    mine, other = build(CASES["chunked-cond"], torch.float64)
    embeddings = torch.randn(3, mine.num_chunks, mine.chunk_emb_size, dtype=torch.float64)
    kwargs = {"uncond_input": torch.randn(3, 2).double(), "cond_input": torch.randn(3, 8).double()}
    got, want = (net(**kwargs, weights={"chunk_embs": embeddings}, ret_format="flattened") for net in (mine, other))
    agree([got], [want], torch.float64)
    for i, j in itertools.product((0, 1), (None, 2)):
        assert torch.equal(mine.get_chunk_emb(j, i), other.get_chunk_emb(j, i))
        assert torch.equal(mine.get_cond_in_emb(i), other.get_cond_in_emb(i))


def test_wrapper():
    mine, other = build(CASES["hmlp-both"], torch.float64)
    z = torch.randn(3, mine.num_outputs).double()
    handlers = {
        "input_handler": lambda uncond_input, cond_input, cond_id: (uncond_input[:, -2:], cond_input, cond_id),
        "output_handler": lambda out, uncond_input, cond_input, cond_id: out * uncond_input.exp(),
    }
    for kwargs in ({"sigma_noise": 0.3}, handlers, {"output_handler": handlers["output_handler"]}):
        a = ours.HPerturbWrapper(mine, 2, verbose=False, **kwargs)
        b = quiet(hnet_perturbation_wrapper.HPerturbWrapper, other, 2, verbose=False, **kwargs)
        for ret_format in FORMATS:
            got, want = (net(z, cond_id=[0, 1, 0], ret_format=ret_format) for net in (a, b))
            agree(tensors(got, ret_format), tensors(want, ret_format), torch.float64)


def test_conversions():
    """The conversions that work in hypnettorch; flattened to the others returns None there."""
    mine, other = build(CASES["hmlp-conditions"], torch.float64)
    for batch in (1, 3):
        made = {f: mine(cond_id=list(range(batch)), ret_format=f) for f in FORMATS}
        for source in ("sequential", "squeezed"):
            got, want = (net.convert_out_format(made[source], source, "flattened") for net in (mine, other))
            assert torch.equal(got, want)


# Initialization.

TARGETS = [[40, 30], [40], [20, 40], [20]]


def spread(draws):
    """Variance and its standard error."""
    return draws.var().item(), (draws.var() * (2 / draws.numel()) ** 0.5).item()


def head_variances(net, shapes=TARGETS):
    rows = net.layer_weight_tensors[-1].split([torch.Size(s).numel() for s in shapes])
    return [spread(r.detach()) for r in rows]


@pytest.mark.parametrize("use_xavier", [False, True])
@pytest.mark.parametrize("method", ["in", "out"])
@pytest.mark.parametrize("with_mnet", [False, True])
def test_hyperfan(method, use_xavier, with_mnet):
    sizes = {"n_in": 30, "n_out": 20, "hidden_layers": [40]}
    kwargs = {"uncond_in_size": 3, "num_cond_embs": 2, "layers": [50, 60], "verbose": False}
    options = {"method": method, "use_xavier": use_xavier, "uncond_var": 2.0, "cond_var": 0.5}
    nets = []
    for package, main_class in ((ours, mnets.MLP), (theirs, mlp.MLP)):
        net = quiet(package.HMLP, TARGETS, **kwargs)
        main = quiet(main_class, **sizes, verbose=False) if with_mnet else None
        quiet(net.apply_hyperfan_init, **options, mnet=main)
        nets.append(net)
    for (a, error), (b, other_error) in zip(*(head_variances(net) for net in nets), strict=True):
        assert abs(a - b) <= 5 * (error + other_error)
    for w, v in zip(nets[0].layer_weight_tensors[:-1], nets[1].layer_weight_tensors[:-1], strict=True):
        (a, error), (b, other_error) = spread(w.detach()), spread(v.detach())
        assert abs(a - b) <= 5 * (error + other_error)
    assert all(not b.any() for b in nets[0].layer_bias_vectors)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_hyperfan_with_values(kind):
    """Means and variances of all four kinds, by position and by name."""
    nets = []
    for package in (ours, theirs):
        net = quiet(package.HMLP, TARGETS, num_cond_embs=1, verbose=False)
        if kind == "list":
            args = {
                "w_val": [0.5, None, 1, None],
                "w_var": [4.0, None, 0, None],
                "b_val": [1.0, None, 2, None],
                "b_var": [0.0, None, 9.0, None],
            }
        else:
            args = {
                "w_val": {"weight": 0.5},
                "w_var": {"weight": 4.0},
                "b_val": {"weight": 1},
                "b_var": {"weight": 9.0},
            }
        quiet(net.apply_hyperfan_init, **args)
        nets.append(net)
    sizes = [torch.Size(s).numel() for s in TARGETS]
    parts = [[t.detach().split(sizes) for t in (n.layer_weight_tensors[-1], n.layer_bias_vectors[-1])] for n in nets]
    for i, j in itertools.product(range(4), range(2)):
        a, b = parts[0][j][i], parts[1][j][i]
        (va, ea), (vb, eb) = spread(a), spread(b)
        assert abs(va - vb) <= 5 * (ea + eb) + 1e-12
        assert (a.mean() - b.mean()).abs() <= 5 * ((va + vb) / a.numel()) ** 0.5 + 1e-6


@pytest.mark.parametrize("use_xavier", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"target_vars": {"weight": 3.0}}, {"method": "out", "cemb_normal_init": True}],
    ids=["in", "given", "out"],
)
def test_chunked_hyperfan(use_xavier, options):
    nets = []
    for package in (ours, theirs):
        net = quiet(
            package.ChunkedHMLP,
            TARGETS,
            700,
            chunk_emb_size=500,
            cond_in_size=10,
            num_cond_embs=2,
            layers=[20],
            verbose=False,
        )
        quiet(net.apply_chunked_hyperfan_init, use_xavier=use_xavier, cond_var=0.001, **options)
        nets.append(net)
    for a, b in zip(nets[0].get_chunk_emb(), nets[1].get_chunk_emb(), strict=True):
        (va, ea), (vb, eb) = spread(a.detach()), spread(b.detach())
        assert abs(va - vb) <= 5 * (ea + eb)


def test_hyperfan_of_other_tensors():
    """Norms and modulation by the main network's names, by default and with arguments."""
    said = {
        "w_val": {"bn_shift": 0.5},
        "w_var": {"bn_scale": 2.0, "bn_shift": 3.0},
        "b_val": {"bn_scale": 4.0},
        "b_var": {"bn_shift": 1.0},
    }
    # hypnettorch needs all four values, and ignores them otherwise.
    full = {key: {"bn_scale": 0.0, "bn_shift": 0.0, **values} for key, values in said.items()}
    for mine, other in (({}, {}), (said, full)):
        nets = []
        for package, main_class, values in ((ours, mnets.MLP, mine), (theirs, mlp.MLP, other)):
            options = {"use_batch_norm": True, "use_context_mod": True, "verbose": False}
            main = quiet(main_class, n_in=4, n_out=3, hidden_layers=[400], **options)
            nets.append(quiet(package.HMLP, main.param_shapes, layers=[50], verbose=False))
            quiet(nets[-1].apply_hyperfan_init, mnet=main, **values)
        sizes = [torch.Size(s).numel() for s in main.param_shapes]
        for tensors in ("layer_weight_tensors", "layer_bias_vectors"):
            parts = [getattr(net, tensors)[-1].detach().split(sizes) for net in nets]
            for a, b in zip(*parts, strict=True):
                (va, ea), (vb, eb) = spread(a), spread(b)
                assert abs(va - vb) <= 5 * (ea + eb)
                assert (a.mean() - b.mean()).abs() <= 5 * ((va + vb) / a.numel()) ** 0.5 + 1e-6


@pytest.mark.parametrize("name", ["HMLP", "ChunkedHMLP"])
def test_generated_variances(name):
    """Variances of generated weights after initialization, over initializations and inputs."""
    torch.manual_seed(0)
    shapes = [[20, 30], [20], [10, 20], [10]]
    sizes = [torch.Size(s).numel() for s in shapes]
    chunks = {"chunk_emb_size": 30} if name == "ChunkedHMLP" else {}
    args = (shapes, 100) if chunks else (shapes,)
    means, errors = [], []
    for package in (ours, theirs):
        draws = []
        for _ in range(20):
            net = quiet(getattr(package, name), *args, cond_in_size=6, layers=[40], verbose=False, **chunks)
            if chunks:
                quiet(net.apply_chunked_hyperfan_init, cond_var=0.01)
            else:
                quiet(net.apply_hyperfan_init)
            x = torch.randn(40, 6) * (0.1 if chunks else 1.0)
            out = net(cond_input=x, ret_format="flattened").detach()
            draws.append(torch.stack([part.square().mean() for part in out.split(sizes, dim=1)]))
        draws = torch.stack(draws)
        means.append(draws.mean(0))
        errors.append(draws.std(0) / len(draws) ** 0.5)
    assert ((means[0] - means[1]).abs() <= 3 * (errors[0] ** 2 + errors[1] ** 2).sqrt()).all()


# Chunkings.


def same_chunking(mine, other):
    for a, b in zip(mine[:2], other[:2], strict=True):
        assert a == [list(x) if isinstance(x, (list, tuple)) else x for x in b]
    chunks = [[torch.randn(s) for s in group] for group, n in zip(*mine[:2], strict=True) for _ in range(n)]
    got, want = mine[2](chunks), other[2](chunks)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("gcd", [False, True])
@pytest.mark.parametrize(("bias", "norm"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("maps", [(4, 4, 8, 16), (2, 6, 6, 12)])
def test_chunkings(maps, bias, norm, gcd):
    kwargs = {"num_feature_maps": maps, "use_bias": bias, "use_batch_norm": norm, "n": 2, "verbose": False}
    nets = [quiet(c, **kwargs) for c in (mnets.ResNet, resnet.ResNet)]
    same_chunking(ours.resnet_chunking(nets[0], gcd), structured_hmlp_examples.resnet_chunking(nets[1], gcd))
    nets = [quiet(c, k=1, use_fc_bias=True, **kwargs) for c in (mnets.WRN, wide_resnet.WRN)]
    for ignore_norm, ignore_out in itertools.product((False, True), repeat=2):
        made = [
            c(net, ignore_norm, ignore_out, gcd)
            for c, net in zip((ours.wrn_chunking, structured_hmlp_examples.wrn_chunking), nets, strict=True)
        ]
        same_chunking(*made)
