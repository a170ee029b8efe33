"""Main networks and layers have the outputs of hypnettorch 0.0.4, with the same parameters on the same inputs."""

import itertools
import random
import warnings

import pytest
import torch

from bayeshnet import layers, mnets

pytest.importorskip("hypnettorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its sources have invalid escape sequences
    from hypnettorch.mnets.lenet import LeNet
    from hypnettorch.mnets.mlp import MLP
    from hypnettorch.mnets.resnet import ResNet
    from hypnettorch.mnets.simple_rnn import SimpleRNN
    from hypnettorch.mnets.wide_resnet import WRN
    from hypnettorch.mnets.zenkenet import ZenkeNet
    from hypnettorch.utils.batchnorm_layer import BatchNormLayer
    from hypnettorch.utils.context_mod_layer import ContextModLayer
    from hypnettorch.utils.self_attention_layer import SelfAttnLayerV2

pytestmark = pytest.mark.filterwarnings("ignore")
D = torch.float64
BOOL = (False, True)
MODULATION = {
    "use_context_mod": (True,),
    "context_mod_inputs": BOOL,
    "no_last_layer_context_mod": BOOL,
    "context_mod_no_weights": BOOL,
    "context_mod_post_activation": BOOL,
    "context_mod_gain_offset": BOOL,
}
IMAGE = {"in_shape": ((6, 7, 2),), "num_classes": (3,), "num_feature_maps": ((2, 3, 4, 6),), "n": (1, 2), "k": (1, 2)}


def variants(count, options, plain=2, **fixed):
    """A fixed random choice of ``count`` combinations with modulation and ``plain`` times as many without."""
    chosen = []
    for more, number in ((MODULATION, count), ({}, plain * count)):
        names = [*options, *more]
        every = list(itertools.product(*options.values(), *({**more, **fixed} if more else {}).values()))
        picked = random.Random(1).sample(every, min(number, len(every)))
        chosen += [dict(zip(names, values, strict=True)) for values in picked]
    return chosen


CASES = [
    *[
        ("MLP", kw)
        for kw in variants(
            10,
            {
                "n_in": (3,),
                "n_out": (2,),
                "hidden_layers": ((4, 5), ()),
                "use_bias": BOOL,
                "no_weights": BOOL,
                "use_batch_norm": BOOL,
                "bn_track_stats": BOOL,
                "out_fn": (None, torch.sigmoid),
                "activation_fn": (torch.nn.ReLU(), torch.nn.Tanh(), None),
            },
        )
    ],
    *[("LeNet", kw) for kw in variants(5, {"arch": ("mnist_small", "mnist_large"), "no_weights": BOOL})],
    *[("ZenkeNet", {"no_weights": no_weights, "dropout_rate": -1}) for no_weights in BOOL],
    *[
        ("ResNet", kw)
        for kw in variants(
            8,
            {
                **IMAGE,
                "use_bias": BOOL,
                "no_weights": BOOL,
                "use_batch_norm": BOOL,
                "bn_track_stats": BOOL,
                "context_mod_apply_pixel_wise": BOOL,
            },
        )
    ],
    *[
        ("WRN", kw)
        for kw in variants(
            8,
            {
                **IMAGE,
                "use_bias": BOOL,
                "use_fc_bias": (None, False, True),
                "no_weights": BOOL,
                "use_batch_norm": BOOL,
                "bn_track_stats": BOOL,
                "context_mod_apply_pixel_wise": BOOL,
            },
        )
    ],
    *[
        ("SimpleRNN", kw)
        for kw in variants(
            14,
            {
                "n_in": (2,),
                "rnn_layers": ((3,), (3, 4)),
                "fc_layers_pre": ((), (5,)),
                "fc_layers": ((), (2,), (4, 2)),
                "use_lstm": BOOL,
                "use_bias": BOOL,
                "no_weights": BOOL,
                "context_mod_last_step": BOOL,
            },
            # The original fails to keep modulation weights itself.
            context_mod_no_weights=(True,),
        )
    ],
    *[
        (
            "SimpleRNN",
            {
                "n_in": 2,
                "rnn_layers": (3, 4),
                "fc_layers": (2,),
                "use_context_mod": True,
                "no_weights": True,
                "context_mod_no_weights": True,
                "context_mod_num_ts": 4,
                "use_lstm": lstm,
                "context_mod_separate_layers_per_ts": separate,
            },
        )
        for lstm in BOOL
        for separate in BOOL
    ],
]
THEIRS = {c.__name__: c for c in (MLP, LeNet, ZenkeNet, ResNet, WRN, SimpleRNN)}
INPUTS = {
    "MLP": (5, 3),
    "LeNet": (2, 784),
    "ZenkeNet": (1, 3072),
    "ResNet": (3, 84),
    "WRN": (3, 84),
    "SimpleRNN": (4, 3, 2),
}


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


@pytest.mark.parametrize("dtype", [torch.float32, D], ids=["single", "double"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}{i}" for i, (n, _) in enumerate(CASES)])
def test_outputs_and_gradients(name, options, dtype):
    torch.set_default_dtype(dtype)  # hypnettorch's recurrent states are of the default type
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = THEIRS[name](verbose=False, **options)
    ours = getattr(mnets, name)(verbose=False, **options)
    assert ours.param_shapes == theirs.param_shapes
    assert (ours.hyper_shapes_learned or []) == (theirs.hyper_shapes_learned or [])
    if name != "ZenkeNet":
        for mine, other in zip(ours.param_shapes_meta, theirs.param_shapes_meta, strict=True):
            assert (mine["name"], mine["index"]) == (other["name"], other["index"])
    weights = [(0.5 * torch.randn(s)).requires_grad_() for s in ours.param_shapes]
    x = torch.randn(INPUTS[name], requires_grad=True)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    for training in (True, False):
        ours.train(training), theirs.train(training)
        got, expected = first(ours(x, weights=weights)), first(theirs.forward(x, weights=weights))
        size = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got / size, expected / size, **tolerance)
        v = torch.randn_like(got)
        g = torch.autograd.grad(got, [x, *weights], v, allow_unused=True)
        e = torch.autograd.grad(expected, [x, *weights], v, allow_unused=True)
        for one, other in zip(g, e, strict=True):
            scale = 1.0 if other is None else max(1.0, other.abs().max().item())
            torch.testing.assert_close(
                torch.zeros(()) if one is None else one / scale,
                torch.zeros(()) if other is None else other / scale,
                **tolerance,
            )
    if theirs.internal_params is not None and len(theirs.internal_params) == len(ours.param_shapes):
        ours.overwrite_internal_params([p.detach() for p in theirs.internal_params])
        torch.testing.assert_close(first(ours(x)), first(theirs.forward(x)), **tolerance)


@pytest.mark.parametrize("name", ["MLP", "ResNet", "WRN"])
def test_batch_statistics(name):
    torch.set_default_dtype(D)
    options = {k: v[0] for k, v in IMAGE.items()} if name != "MLP" else {"n_in": 3, "hidden_layers": (4, 5)}
    options |= {"use_batch_norm": True, "distill_bn_stats": True, "verbose": False}
    theirs, ours = THEIRS[name](**options), getattr(mnets, name)(**options)
    ours.overwrite_internal_params([p.detach() for p in theirs.internal_params])
    assert ours.hyper_shapes_distilled == theirs.hyper_shapes_distilled
    for net in (ours, theirs):
        for layer in net.batchnorm_layers:
            layer.checkpoint_stats()
    for condition in (0, 1, {"bn_stats_id": 0}, None):
        x = torch.randn(INPUTS[name])
        torch.testing.assert_close(ours(x, condition=condition), theirs.forward(x, condition=condition))
    for mine, other in zip(ours.distillation_targets(), theirs.distillation_targets(), strict=True):
        torch.testing.assert_close(mine, other)
    ours.eval(), theirs.eval()
    for condition in (0, 1, None):
        torch.testing.assert_close(ours(x, condition=condition), theirs.forward(x, condition=condition))
    given = [torch.rand(s) + 0.5 for s in ours.hyper_shapes_distilled]
    torch.testing.assert_close(ours(x, distilled_params=given), theirs.forward(x, distilled_params=given))
    stats = [layer.get_stats(i) for layer in ours.batchnorm_layers for i in (0, 1)]
    others = [layer.get_stats(i) for layer in theirs.batchnorm_layers for i in (0, 1)]
    for mine, other in zip(itertools.chain(*stats), itertools.chain(*others), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("inside", BOOL)
def test_ways_of_giving_weights(inside):
    torch.set_default_dtype(D)
    options = {"n_in": 3, "n_out": 2, "use_context_mod": True, "context_mod_no_weights": not inside, "verbose": False}
    theirs, ours = MLP(**options), mnets.MLP(**options)
    ours.overwrite_internal_params([p.detach() for p in theirs.internal_params])
    count = 2 * len(ours.context_mod_layers)
    weights = [torch.randn(s) for s in ours.param_shapes]
    x = torch.randn(5, 3)
    mod, rest = weights[:count], weights[count:]
    ways = [weights, mod, {"internal_weights": rest, "mod_weights": mod}, {"mod_weights": mod}]
    for way in ways + ([{"internal_weights": rest}, None] if inside else []):
        torch.testing.assert_close(ours(x, weights=way), theirs.forward(x, weights=way))
    per_sample = [torch.randn(5, *s) for s in ours.param_shapes[:count]]
    way = {"internal_weights": rest, "mod_weights": per_sample}
    torch.testing.assert_close(ours(x, weights=way), theirs.forward(x, weights=way))


def test_hidden_states_and_truncation():
    torch.set_default_dtype(D)
    for lstm in BOOL:
        options = {"n_in": 2, "rnn_layers": (3, 4), "fc_layers_pre": (5,), "use_lstm": lstm, "verbose": False}
        theirs, ours = SimpleRNN(**options), mnets.SimpleRNN(**options)
        ours.overwrite_internal_params([p.detach() for p in theirs.internal_params])
        x = torch.randn(6, 3, 2, requires_grad=True)
        theirs.bptt_depth = ours.bptt_depth = 2
        y, hidden, inner = ours(x, return_hidden=True, return_hidden_int=True)
        y2, hidden2, inner2 = theirs.forward(x, return_hidden=True, return_hidden_int=True)
        torch.testing.assert_close((y, hidden), (y2, hidden2))
        for one, other in zip(inner, inner2, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)
        assert len(ours(x, return_hidden=True)) == 2
        got, expected = torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad(y2.sum(), x)[0]
        # The original cuts the states of all but the last two steps, and what those steps put out with them; so do we.
        torch.testing.assert_close(got, expected)


def test_batchnorm_layer():
    torch.set_default_dtype(D)
    for options in ({}, {"track_running_stats": False}):  # the original fails with frozen_stats
        theirs, ours = BatchNormLayer(3, **options), layers.BatchNormLayer(3, **options)
        gain, shift = torch.randn(3), torch.randn(3)
        for training in (True, True, False):
            ours.train(training), theirs.train(training)
            x = torch.randn(7, 3, 2)
            torch.testing.assert_close(ours(x), theirs.forward(x))
            torch.testing.assert_close(ours(x, weight=gain, bias=shift), theirs.forward(x, weight=gain, bias=shift))
        assert ours.num_stats == theirs.num_stats


def test_context_mod_layer():
    torch.set_default_dtype(D)
    for options in ({}, {"apply_gain_offset": True}, {"apply_gain_softplus": True, "softplus_scale": 2.0}):
        theirs, ours = ContextModLayer((3, 1), **options), layers.ContextModLayer((3, 1), **options)
        x, weights = torch.randn(4, 3, 5), [torch.randn(3, 1), torch.randn(3, 1)]
        torch.testing.assert_close(ours(x), theirs.forward(x))
        torch.testing.assert_close(ours(x, weights=weights), theirs.forward(x, weights=weights))
        assert ours.param_shapes == [list(s) for s in theirs.param_shapes]
        assert ours.param_shapes_meta == theirs.param_shapes_meta


def test_self_attention_layer():
    torch.set_default_dtype(D)
    theirs = SelfAttnLayerV2(8, False)
    weights = [torch.randn(s) for s in theirs.weight_shapes]
    ours = layers.SelfAttnLayerV2(8, False, init_weights=[p.detach() for p in theirs.weights])
    x = torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(ours(x), theirs.forward(x))
    got, expected = ours(x, ret_attention=True, weights=weights), theirs.forward(x, ret_attention=True, weights=weights)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(ours(x, dWeights=weights), theirs.forward(x, dWeights=weights))
