"""Printing a hypernetwork, main network or layer shows the arguments with which it was built, and its sizes."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

from bayeshnet import hnets, layers, mnets
from bayeshnet.representation import shows_arguments

SHAPES = [[3, 2], [3]]
EMBEDDED = {"uncond_in_size": 3, "cond_in_size": 2, "num_cond_embs": 2}
SUBNET = {"activation_fn": nn.Tanh(), "use_bias": False, "use_spectral_norm": True, "use_batch_norm": True}
EXTERNAL = {"no_uncond_weights": True, "no_cond_weights": True}
PERCEPTRON = {**EMBEDDED, **SUBNET, **EXTERNAL, "layers": [4], "dropout_rate": 0.3, "linear_skip": True}
CHUNKS = {"chunk_emb_size": 3, "cond_chunk_embs": True}
DECONV = {
    **EMBEDDED,
    **SUBNET,
    **EXTERNAL,
    "hyper_img_shape": (3, 3),
    "num_layers": 2,
    "num_filters": [8],
    "kernel_size": 3,
    "sa_units": (0,),
}
MODULATION = {
    "use_context_mod": True,
    "context_mod_inputs": True,
    "no_last_layer_context_mod": True,
    "context_mod_no_weights": True,
    "context_mod_post_activation": True,
    "context_mod_gain_offset": True,
}
IMAGE = {"layout": "CHW", "num_classes": 3, "no_weights": True}
RESIDUAL = {
    **IMAGE,
    **MODULATION,
    "in_shape": (4, 4, 1),
    "n": 1,
    "k": 2,
    "num_feature_maps": (2, 2, 3, 3),
    "use_bias": False,
    "use_batch_norm": False,
    "bn_track_stats": False,
    "context_mod_apply_pixel_wise": True,
}


def flat(groups):
    return [tensor for group in groups for tensor in group]


def assemble(made, shared, own):
    return [*flat(made), *shared, *own]


def handle(**inputs):
    return tuple(inputs.values())


def inner():
    return hnets.HMLP(SHAPES, 2, 2, [4], num_cond_embs=2, verbose=False)


# Each class with arguments that are not the defaults.
CLASSES = {
    hnets.HMLP: {"target_shapes": SHAPES, **PERCEPTRON, "stretch": True},
    hnets.ChunkedHMLP: {"target_shapes": SHAPES, "chunk_size": 4, **PERCEPTRON, **CHUNKS},
    hnets.HDeconv: {"target_shapes": SHAPES, **DECONV},
    hnets.ChunkedHDeconv: {"target_shapes": SHAPES, **DECONV, **CHUNKS},
    hnets.StructuredHMLP: {
        "target_shapes": SHAPES,
        "chunk_shapes": [SHAPES],
        "num_per_chunk": [1],
        "chunk_emb_sizes": 2,
        "hmlp_kwargs": {"layers": [4]},
        "assembly_fct": flat,
        "cond_chunk_embs": True,
        **EMBEDDED,
        **EXTERNAL,
    },
    hnets.HContainer: {
        "target_shapes": [*SHAPES, [2], [3]],
        "assembly_fct": assemble,
        "hnets": [inner()],
        "uncond_param_shapes": [[2]],
        "cond_param_shapes": [[3]],
        "uncond_param_names": ["bn_scale"],
        "cond_param_names": ["bn_shift"],
        "num_cond_embs": 2,
        **EXTERNAL,
    },
    hnets.HPerturbWrapper: {
        "hnet": inner(),
        "hnet_uncond_in_size": 2,
        "sigma_noise": 0.5,
        "input_handler": handle,
        "output_handler": handle,
        "noise": "independent",
    },
    mnets.MLP: {
        "n_in": 2,
        "n_out": 3,
        "hidden_layers": (4,),
        "activation_fn": torch.tanh,
        "use_bias": False,
        "no_weights": True,
        "dropout_rate": 0.3,
        "use_batch_norm": True,
        "distill_bn_stats": True,
        **MODULATION,
        "out_fn": torch.sigmoid,
        "flatten_inputs": True,
    },
    mnets.LeNet: {**IMAGE, "arch": "mnist_small", "dropout_rate": 0.3, "context_mod_apply_pixel_wise": True},
    mnets.ZenkeNet: {**IMAGE, "dropout_rate": 0.3},
    mnets.ResNet: RESIDUAL,
    mnets.WRN: {**RESIDUAL, "use_fc_bias": True, "dropout_rate": 0.3, "chw_input_format": True},
    mnets.SimpleRNN: {
        "n_in": 2,
        "rnn_layers": (3,),
        "fc_layers_pre": (3,),
        "fc_layers": (2,),
        "activation": None,
        "use_lstm": True,
        "use_bias": False,
        "no_weights": True,
        "kaiming_rnn_init": True,
        "context_mod_num_ts": 3,
        "context_mod_separate_layers_per_ts": True,
        **MODULATION,
    },
    mnets.ModuleMainNet: {
        "module": nn.Linear(2, 3),
        "select": "weight",
        "batch_norm": "eval",
        "train_rest": True,
        "adapter": mnets.BiasAdapter(),
    },
    mnets.BiasAdapter: {"layers": "2.*"},
    mnets.FiLMAdapter: {"layers": ["2.*", "3"]},
    mnets.LowRankAdapter: {"layers": "2.*", "rank": 2, "alpha": 3.0},
    mnets.PriorFunctionNet: {
        "net": mnets.MLP(2, 1, (), no_weights=True, verbose=False),
        "scale": 2.0,
        "prior_weights": torch.zeros(3),
    },
    mnets.OutputView: {"net": mnets.MLP(2, 6, verbose=False), "start": 2, "stop": 4, "gaps": [(3, 4)]},
    layers.BatchNormLayer: {"num_features": 3, "momentum": 0.3, "affine": False},
    layers.ContextModLayer: {"num_features": 3, "no_shifts": True, "softplus_scale": 2.0},
    layers.SelfAttnLayerV2: {"in_dim": 8, "use_spectral_norm": True},
    layers.SpectralNorm: {"shape": (2, 3), "num_iters": 2, "dim": 1},
    layers.GaussianBump: {},
}
# Arguments that cannot be chosen together with those above, or that have one possible value.
LEFT_OUT = {
    "arch",
    "bn_track_stats",
    "context_mod_gain_softplus",
    "context_mod_last_step",
    "distill_bn_stats",
    "in_shape",
    "use_spectral_norm",
}
NOT_SHOWN = {"verbose", "init_weights", "kwargs", "args"}


def test_all_public_classes_are_listed():
    names = [getattr(package, name) for package in (hnets, mnets, layers) for name in package.__all__]
    public = {thing for thing in names if inspect.isclass(thing) and not inspect.isabstract(thing)}
    assert public == set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_arguments_are_shown(cls):
    """All arguments of layers, and those of networks that are not at their defaults."""
    accepted = set(inspect.signature(cls).parameters) - NOT_SHOWN
    chosen = CLASSES[cls]
    if cls.__module__.startswith("bayeshnet.layers"):
        wanted = accepted
    else:
        wanted = set(chosen)
        assert accepted - wanted <= LEFT_OUT
    shown = repr(cls(**chosen))
    assert {name for name in wanted if f"{name}=" not in shown} == set()


def test_defaults_are_left_out_and_sizes_are_shown():
    hnet = hnets.HMLP(SHAPES, cond_in_size=2, num_cond_embs=3, layers=(), verbose=False)
    first = repr(hnet).splitlines()[1].strip()
    assert first == (
        "target_shapes=[[3, 2], [3]], cond_in_size=2, layers=(), num_cond_embs=3, "
        "33 weights, 33 internal, 9 outputs, 3 conditions"
    )
    hnet.add_conditions(1)
    assert "35 weights, 35 internal, 9 outputs, 4 conditions" in repr(hnet)
    assert "(0): ReLU" not in repr(hnet)


def test_long_values_are_shortened():
    shown = repr(hnets.HMLP([[10, 10]] * 100, layers=(), verbose=False))
    assert len(shown.splitlines()[1]) < 200
    assert "target_shapes=[[10, 10], [10, 10]," in shown


def test_values_of_parameters_are_not_shown():
    net = mnets.MLP(1, 1, (), init_weights=[torch.zeros(1, 1), torch.zeros(1)], verbose=False)
    assert "init_weights=[0.0, 0.0]" in repr(net)
    net = mnets.MLP(2, 1, (), init_weights=[torch.zeros(1, 2), torch.zeros(1)], verbose=False)
    assert "init_weights=[tensor(1, 2), 0.0]" in repr(net)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_show_the_same(duplicate):
    hnet = hnets.HPerturbWrapper(inner(), 2, 0.3, verbose=False)
    assert repr(duplicate(hnet)) == repr(hnet)


def test_subclasses_show_the_arguments_of_the_class_they_build_upon():
    class Small(hnets.HMLP):
        def __init__(self):
            super().__init__(SHAPES, layers=(4,), verbose=False)

    class Sized(hnets.HMLP):
        @shows_arguments
        def __init__(self, size, **options):
            super().__init__(SHAPES, layers=(size,), verbose=False, **options)

    assert "layers=(4,)" in repr(Small())
    assert Sized(5, uncond_in_size=2)._arguments == "size=5, uncond_in_size=2"
    assert list(inspect.signature(Sized).parameters) == ["size", "options"]


def test_wrong_arguments_are_refused_as_by_any_function():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'target_shapes'"):
        hnets.HMLP()
    with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
        hnets.HMLP(SHAPES, hidden=3)
