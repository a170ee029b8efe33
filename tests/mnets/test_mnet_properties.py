"""Random constructor arguments: accepted ones work, errors name the refused one."""

import inspect
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayeshnet.functional import batched_forward
from bayeshnet.mnets import MLP, WRN, LeNet, ResNet, SimpleRNN, ZenkeNet

FLAG = st.booleans()
WRONG = st.sampled_from([None, -1, 1.5, float("nan"), "x", [0], [None], {}, {"a": 1}, torch.zeros(2)])
SIZE = st.sampled_from([1, 2, 3, 4, 1, 2, 3, 0, -1])
SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 5, 0]), max_size=2)
GOOD_MAPS = st.lists(st.integers(1, 3), min_size=4, max_size=4).map(sorted)
MAPS = st.one_of(GOOD_MAPS, GOOD_MAPS, GOOD_MAPS, st.lists(st.integers(0, 3), min_size=3, max_size=5))
IMAGE = st.lists(st.integers(1, 5), min_size=3, max_size=3)
RATE = st.sampled_from([-1, -1, 0.0, 0.3, 0.5, 2.0])
MODULATION = {
    "use_context_mod": FLAG,
    "context_mod_inputs": FLAG,
    "no_last_layer_context_mod": FLAG,
    "context_mod_no_weights": FLAG,
    "context_mod_post_activation": FLAG,
    "context_mod_gain_offset": FLAG,
    "context_mod_gain_softplus": FLAG,
}
NORM = {"use_batch_norm": FLAG, "bn_track_stats": FLAG, "distill_bn_stats": FLAG}
IMAGES = {
    "in_shape": st.one_of(IMAGE, IMAGE, st.just((4, 4))),
    "num_classes": SIZE,
    "n": st.sampled_from([1, 1, 2, 0]),
    "k": st.sampled_from([1, 1, 2, 0]),
    "num_feature_maps": MAPS,
    "use_bias": FLAG,
    "no_weights": FLAG,
}


def check(build, options, inputs):
    """Build and run a network; an error must name an argument."""
    names = set(inspect.signature(build.__init__).parameters) | set(MODULATION)
    try:
        net = build(**options)
    except (ValueError, TypeError) as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        named = re.match(r"(\w+)(\['.*'\])?: expected .* got ", refusal, re.DOTALL)
        assert named, f"{refusal}: names no argument"
        assert named.group(1) in names
        return
    net.double().eval()
    x = inputs(net).double()
    weights = [torch.randn(s).double() for s in net.param_shapes]
    out = net(x, weights=weights)
    out = out[0] if isinstance(out, tuple) else out
    assert torch.isfinite(out).all()
    flat = torch.randn(3, net.weight_spec.numel).double()
    many = batched_forward(net, flat, x)
    many = many[0] if isinstance(many, tuple) else many
    one = net(x, weights=net.weight_spec.split(flat[1]))
    torch.testing.assert_close(many[1], one[0] if isinstance(one, tuple) else one, rtol=1e-8, atol=1e-8)
    net.train()(x, weights=weights)
    if net.hyper_shapes_distilled is not None:
        assert [list(t.shape) for t in net.distillation_targets()] == net.hyper_shapes_distilled
        net(x, weights=weights, distilled_params=net.distillation_targets())


def drawn(options, examples=40):
    """Draw dictionaries of options, of which one may have a value that is wrong for most."""
    quick = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    spoilt = st.none() | st.none() | st.tuples(st.sampled_from([*options, "verbose"]), WRONG)

    def spoil(pair):
        return pair[0] if pair[1] is None else {**pair[0], pair[1][0]: pair[1][1]}

    return lambda test: quick(given(st.tuples(st.fixed_dictionaries({}, optional=options), spoilt).map(spoil))(test))


@drawn(
    {
        "n_in": SIZE,
        "n_out": SIZE,
        "hidden_layers": SIZES,
        "use_bias": FLAG,
        "no_weights": FLAG,
        "dropout_rate": RATE,
        "use_spectral_norm": FLAG,
        "activation_fn": st.sampled_from([None, torch.tanh]),
        "out_fn": st.sampled_from([None, torch.sigmoid]),
        **NORM,
        **MODULATION,
    },
    80,
)
def test_mlp(options):
    check(MLP, options, lambda net: torch.randn(4, net._sizes[0]))


@drawn(
    {
        "n_in": SIZE,
        "rnn_layers": SIZES,
        "fc_layers_pre": SIZES,
        "fc_layers": SIZES,
        "use_lstm": FLAG,
        "use_bias": FLAG,
        "no_weights": FLAG,
        "kaiming_rnn_init": FLAG,
        "context_mod_last_step": FLAG,
        "context_mod_num_ts": st.sampled_from([-1, 0, 3]),
        "context_mod_separate_layers_per_ts": FLAG,
        **MODULATION,
    },
    80,
)
def test_simple_rnn(options):
    check(SimpleRNN, options, lambda net: torch.randn(3, 2, net._n_in))


@pytest.mark.parametrize("build", [ResNet, WRN])
@drawn({**IMAGES, **NORM, **MODULATION, "context_mod_apply_pixel_wise": FLAG})
def test_residual_networks(build, options):
    options = {"n": 1, "k": 1, "num_feature_maps": (2, 2, 3, 3), **options}
    check(build, options, lambda net: torch.randn(2, *net._in_shape))


@drawn(
    {
        "num_classes": SIZE,
        "dropout_rate": RATE,
        "no_weights": FLAG,
        "in_shape": st.sampled_from([(28, 28, 1), (28, 28)]),
        "arch": st.sampled_from(["mnist_small", "tiny"]),
        "context_mod_apply_pixel_wise": FLAG,
        **MODULATION,
    },
    15,
)
def test_lenet(options):
    check(LeNet, {"arch": "mnist_small", **options}, lambda net: torch.randn(1, 784))


@drawn({"num_classes": SIZE, "dropout_rate": RATE, "no_weights": FLAG, "arch": st.sampled_from(["cifar", "tiny"])}, 5)
def test_zenkenet(options):
    check(ZenkeNet, options, lambda net: torch.randn(1, 3072))
