"""The contract of main networks of all classes and options."""

import copy
import math
import pickle

import pytest
import torch

from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MainNetInterface
from tests.support.mnet_builders import CASES, draw, first

D = torch.float64


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


def double(case):
    x = case.inputs()
    return case.build().double(), x.double() if x.is_floating_point() else x


def test_lists_agree(case):
    net = case.build()
    shapes, meta = net.param_shapes, net.param_shapes_meta
    internal, learned = net.internal_params, net.hyper_shapes_learned
    assert len(shapes) == len(meta)
    assert net.num_params == sum(math.prod(s) for s in shapes) == net.shapes_to_num_weights(shapes)
    if internal is None:
        assert net.internal_params_ref is None
    else:
        assert [list(p.shape) for p in internal] == [shapes[i] for i in net.internal_params_ref]
        assert [m["index"] for m in meta if m["index"] != -1] == list(range(len(internal)))
        assert [i for i, m in enumerate(meta) if m["index"] != -1] == net.internal_params_ref
        assert {id(p) for p in internal} == {id(p) for p in net.parameters()}
    if learned is None:
        assert net.hyper_shapes_learned_ref is None
    else:
        assert learned == [shapes[i] for i in net.hyper_shapes_learned_ref]
        assert all(meta[i]["index"] == -1 for i in net.hyper_shapes_learned_ref)
    assert len(learned or []) + len(internal or []) == len(shapes)
    assert net.num_internal_params == sum(p.numel() for p in internal or [])
    assert [list(s) for s in net.weight_spec.shapes] == (learned or shapes)
    assert len(net.layer_weight_tensors) == sum(m["name"] == "weight" and m["index"] != -1 for m in meta)
    assert len(net.layer_bias_vectors) in (0, len(net.layer_weight_tensors))


def test_weights_as_list_and_dict(case):
    net, x = double(case)
    net.eval()
    flat = draw(net)
    spec = net.weight_spec
    expected = first(net(x, weights=spec.split(flat)))
    torch.testing.assert_close(first(net(x, weights=spec.unflatten(flat))), expected, rtol=0, atol=0)
    if net.internal_params is not None and net.hyper_shapes_learned is not None:
        named = spec.unflatten(flat)
        internal = iter(net.internal_params)
        labels = [r.label for r in net._ledger.records]
        full = [named[n] if n in named else next(internal) for n in labels]
        torch.testing.assert_close(first(net(x, weights=full)), expected, rtol=0, atol=0)
        other = [t + 0.1 if n not in named else t for n, t in zip(labels, full, strict=True)]
        assert not torch.allclose(first(net(x, weights=other)), expected)
    if net.hyper_shapes_learned is None:
        net.overwrite_internal_params(spec.split(flat))
        torch.testing.assert_close(first(net(x)), expected, rtol=0, atol=0)
    else:
        with pytest.raises(ValueError, match=r"weights: expected|weights: expected a tensor for"):
            net(x)


def test_gradients_reach_every_weight(case):
    net, x = double(case)
    flat = draw(net).requires_grad_()
    outputs = first(net(x, weights=net.weight_spec.split(flat)))
    outputs.square().sum().backward()
    for name, gradient in net.weight_spec.unflatten(flat.grad).items():
        assert gradient.abs().sum() > 0, name
    if net.hyper_shapes_learned is not None:
        for parameter in net.internal_params or []:
            assert parameter.grad.abs().sum() > 0


def test_gradients_against_differences(case):
    net, x = double(case)
    net.eval()
    spec, flat = net.weight_spec, draw(net)
    direction = torch.randn_like(flat)

    def value(t):
        return first(net(x, weights=spec.split(flat + t * direction))).sin().sum()

    t = torch.zeros((), dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(value(t), t)
    step = 1e-6
    with torch.no_grad():
        numeric = (value(torch.tensor(step, dtype=D)) - value(torch.tensor(-step, dtype=D))) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_independent(case, make):
    net, x = double(case)
    net.eval()
    weights = net.weight_spec.split(draw(net))
    expected = first(net(x, weights=weights))
    if not case.pickled and make is not copy.deepcopy:
        pytest.skip("torch does not pickle parametrized modules")
    twin = make(net)
    for parameter in net.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(first(twin(x, weights=weights)), expected, rtol=0, atol=0)
    if twin.internal_params is not None:
        assert {id(p) for p in twin.internal_params} == {id(p) for p in twin.parameters()}


def test_state_dict(case):
    net, x = double(case)
    other, _ = double(case)
    other.load_state_dict(net.state_dict())
    weights = net.weight_spec.split(draw(net))
    for n in (net, other):
        n.eval()
    torch.testing.assert_close(first(other(x, weights=weights)), first(net(x, weights=weights)), rtol=0, atol=0)


def test_dtype_and_meta(case):
    net = case.build()
    assert {p.dtype for p in net.double().parameters()} <= {D}
    with torch.device("meta"):
        meta = case.build()
    x = case.inputs().to("meta")
    weights = [torch.empty(s, device="meta") for s in meta.weight_spec.shapes]
    if not case.stateful or meta.batchnorm_layers is None:
        shape = first(meta.eval()(x, weights=weights)).shape
        assert (
            shape
            == first(
                case.build().eval()(case.inputs(), weights=[torch.zeros(s) for s in meta.weight_spec.shapes])
            ).shape
        )
    assert all(p.device.type == "meta" for p in meta.parameters())
    assert all(p.device.type == "cpu" for p in meta.to_empty(device="cpu").internal_params or [])


def test_moved_parameters_stay_live(case):
    net = case.build()
    if net.internal_params is None:
        pytest.skip("keeps no parameters")
    named = {n: torch.zeros_like(p) for n, p in net.named_parameters()}
    x = case.inputs()
    weights = None if net.hyper_shapes_learned is None else [torch.zeros(s) for s in net.hyper_shapes_learned]
    net.eval()
    swapped = first(torch.func.functional_call(net, named, (x,), {"weights": weights}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    torch.testing.assert_close(swapped, first(net(x, weights=weights)), equal_nan=True)


@pytest.mark.parametrize("training", [True, False])
def test_batched_forward_is_the_loop(case, training):
    if case.name == "zenkenet" and training:
        pytest.skip("slow, and without dropout the same in both modes")
    net, x = double(case)
    net.train(training)
    flat = draw(net, 3).requires_grad_()
    before = copy.deepcopy(net.state_dict())

    def outputs(strategy, **options):
        net.load_state_dict(before)
        out = first(batched_forward(net, flat, x, strategy, **options))
        (gradient,) = torch.autograd.grad(out.square().sum(), flat)
        return out.detach(), gradient

    expected = outputs("loop")
    one_by_one = [first(net(x, weights=net.weight_spec.split(w))) for w in flat.detach()] if not case.stateful else None
    if one_by_one is not None:
        torch.testing.assert_close(expected[0], torch.stack(one_by_one).detach(), rtol=1e-12, atol=1e-12)
    every = ({"strategy": "auto"}, {"strategy": "auto", "chunk_size": 2}, {"strategy": "loop", "chunk_size": 1})
    for options in every[1:2] if case.name == "zenkenet" else every:
        got = outputs(**options)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)
    if not (case.stateful and training) and "lstm" not in case.name.replace("lstm-mod", ""):
        torch.testing.assert_close(outputs("vmap"), expected, rtol=1e-9, atol=1e-10)


def test_batched_forward_per_sample_inputs(case):
    net, _ = double(case)
    net.eval()
    x = torch.stack([case.inputs() for _ in range(3)])
    x = x.double() if x.is_floating_point() else x
    flat = draw(net, 3)
    expected = torch.stack([first(net(one, weights=net.weight_spec.split(w))) for one, w in zip(x, flat, strict=True)])
    for strategy in ("auto", "loop"):
        for chunk in (None, 2):
            got = first(batched_forward(net, flat, x, strategy, chunk, per_sample_inputs=True))
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


def test_wrong_weights_are_refused(case):
    net = case.build()
    x, shapes = case.inputs(), net.weight_spec.shapes
    good = [torch.zeros(s) for s in shapes]
    with pytest.raises(ValueError, match=r"weights.*: expected"):
        net(x, weights=[*good, torch.zeros(1), torch.zeros(1), torch.zeros(1)] * 7)
    with pytest.raises(ValueError, match=r"weights\['.*'\]: expected a tensor of shape"):
        net(x, weights=[good[0].new_zeros(99, 98, *shapes[0][1:]), *good[1:]])
    with pytest.raises(ValueError, match="weights: expected a dict by names of weight_spec, got unknown names"):
        net(x, weights={"nonsense": good[0]})
    with pytest.raises(TypeError, match="weights: expected a list or dict of tensors"):
        net(x, weights=torch.zeros(3))


def test_interface(case):
    net = case.build()
    assert isinstance(net, MainNetInterface)
    assert net.distillation_targets() is None
    assert net.hyper_shapes_distilled is None
    with pytest.warns(DeprecationWarning, match="internal_params"):
        assert (net.weights is None) == (net.internal_params is None)
    vector = torch.randn(net.num_params)
    parts = net.flatten_params(vector, net.param_shapes, unflatten=True)
    assert torch.equal(net.flatten_params(parts), vector)
    if net.has_fc_out and net.mask_fc_out:
        masks = net.get_output_weight_mask([0])
        assert len(masks) == len(net.param_shapes)
        marked = [m for m in masks if m is not None]
        assert 1 <= len(marked) <= 2
        assert all(m[0].all() and not m[1:].any() for m in marked)
        assert all(m.all() for m in net.get_output_weight_mask() if m is not None)
        with pytest.raises(ValueError, match="out_inds: expected output units below"):
            net.get_output_weight_mask([10**6])
    else:
        with pytest.raises(ValueError, match="network: expected one with has_fc_out and mask_fc_out"):
            net.get_output_weight_mask()
