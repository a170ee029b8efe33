"""Random constructor arguments of every hypernetwork: accepted ones work, errors name the refused one."""

import inspect
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from bayeshnet.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP, HContainer, HDeconv, HPerturbWrapper, StructuredHMLP

SIZE, FLAG = st.integers(0, 3), st.booleans()
SHAPE = st.lists(st.integers(1, 3), max_size=3)
SHAPES = st.lists(SHAPE, min_size=1, max_size=3)
WRONG = st.sampled_from([None, -1, 1.5, float("nan"), "x", [0], [None], ["x"], [[1.5]], {}, {"a": 1}, torch.zeros(2)])
"""Values that are wrong for most arguments."""
INPUTS = {
    "uncond_in_size": SIZE,
    "cond_in_size": SIZE,
    "no_uncond_weights": FLAG,
    "no_cond_weights": FLAG,
    "num_cond_embs": SIZE,
}
BODY = {
    "activation_fn": st.sampled_from([nn.ReLU(), nn.Tanh(), None, torch.sin, nn.Softmax(dim=1)]),
    "use_bias": FLAG,
    "use_spectral_norm": FLAG,
    "use_batch_norm": FLAG,
}
LAYERS = st.lists(st.integers(1, 4), max_size=2)
MLP = {
    **INPUTS,
    **BODY,
    "target_shapes": SHAPES,
    "layers": LAYERS,
    "linear_skip": FLAG,
    "dropout_rate": st.sampled_from([-1, 1, 0, 0.3, 0.9]),
}
CHUNKS = {"chunk_emb_size": st.integers(1, 3), "cond_chunk_embs": FLAG}
KERNEL = st.integers(1, 4)
PIXELS = st.integers(1, 9)
DECONV = {
    **INPUTS,
    **BODY,
    "target_shapes": SHAPES,
    "num_layers": st.integers(2, 3),
    "hyper_img_shape": st.tuples(PIXELS, PIXELS) | st.tuples(PIXELS, PIXELS, st.integers(1, 2)),
    "num_filters": st.lists(st.sampled_from([4, 8]), min_size=1, max_size=2),
    "kernel_size": KERNEL | st.tuples(KERNEL, KERNEL) | st.lists(KERNEL, min_size=1, max_size=2),
    "sa_units": st.lists(st.integers(0, 1), max_size=2),
}


def in_order(chunks):
    return [tensor for chunk in chunks for tensor in chunk]


def doubled(chunks):
    return [2 * tensor for tensor in in_order(chunks)]


@st.composite
def structured(draw):
    """Arguments of a structured hypernetwork."""
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=2))
    counts = [draw(st.integers(1, 2)) for _ in shapes]
    options = st.fixed_dictionaries({}, optional={**BODY, "layers": LAYERS})
    return {
        "target_shapes": [shape for group, n in zip(shapes, counts, strict=True) for _ in range(n) for shape in group],
        "chunk_shapes": shapes,
        "num_per_chunk": counts,
        "chunk_emb_sizes": draw(SIZE | st.lists(SIZE, min_size=len(shapes), max_size=len(shapes))),
        "hmlp_kwargs": draw(options | st.lists(options, min_size=len(shapes), max_size=len(shapes))),
        "assembly_fct": draw(st.sampled_from([in_order, doubled])),
        "cond_chunk_embs": draw(FLAG),
        **draw(st.fixed_dictionaries(INPUTS)),
    }


@st.composite
def inner(draw, conds):
    """A hypernetwork inside another one."""
    options = {
        "num_cond_embs": conds,
        "layers": draw(LAYERS),
        "uncond_in_size": draw(st.sampled_from([0, 2, 2])),
        "cond_in_size": 2,
        "verbose": False,
        "no_cond_weights": draw(FLAG),
        "no_uncond_weights": draw(FLAG),
    }
    if draw(FLAG):
        return HMLP([[3], [2]], **options)
    return ChunkedHMLP([[3], [2]], 2, 2, bool(conds) and draw(FLAG), **options)


@st.composite
def contained(draw):
    """Arguments of a container."""
    conds = draw(SIZE)
    hnets = [draw(inner(conds)) for _ in range(draw(st.integers(0, 2)))]
    if len(hnets) == 1 and draw(FLAG):
        hnets = [HPerturbWrapper(hnets[0], hnets[0].uncond_in_size, verbose=False)]
    uncond, cond = draw(st.none() | SHAPES), draw(st.none() | SHAPES)
    return {
        "target_shapes": [[3], [2]] * len(hnets) + [*(uncond or []), *(cond or [])],
        "assembly_fct": lambda made, shared, own: [*in_order(made), *shared, *own],
        "hnets": draw(st.just(hnets)),
        "uncond_param_shapes": uncond,
        "cond_param_shapes": cond,
        "uncond_param_names": draw(st.sampled_from([None, ["bn_scale"] * len(uncond or [])])),
        "cond_param_names": draw(st.sampled_from([None, ["weight"] * len(cond or [])])),
        "no_uncond_weights": draw(FLAG),
        "no_cond_weights": draw(FLAG),
        "num_cond_embs": draw(st.sampled_from([conds, conds, 1])),
    }


@st.composite
def wrapped(draw):
    """Arguments of a wrapper."""
    hnet = draw(inner(draw(SIZE)))
    return {
        "hnet": hnet,
        "hnet_uncond_in_size": draw(st.sampled_from([hnet.uncond_in_size] * 3 + [1])),
        "sigma_noise": draw(st.sampled_from([0.0, 0.1])),
        "noise": draw(st.sampled_from(["shared", "independent"])),
        "input_handler": None,
        "output_handler": draw(st.sampled_from([None, lambda out, uncond_input, cond_input, cond_id: 2 * out])),
    }


CLASSES = {
    HMLP: st.fixed_dictionaries({**MLP, "stretch": FLAG}),
    ChunkedHMLP: st.fixed_dictionaries({**MLP, **CHUNKS, "chunk_size": st.integers(1, 20)}),
    HDeconv: st.fixed_dictionaries(DECONV),
    ChunkedHDeconv: st.fixed_dictionaries({**DECONV, **CHUNKS}),
    StructuredHMLP: structured(),
    HContainer: contained(),
    HPerturbWrapper: wrapped(),
}


def inputs(net, batch):
    """Arguments for a forward pass."""
    learned = dict(zip(net.weight_spec.names, net.hyper_shapes_learned or [], strict=False))
    kwargs = {"weights": {name: torch.randn(shape) for name, shape in learned.items()} or None}
    if net.uncond_in_size:
        kwargs["uncond_input"] = torch.randn(batch, net.uncond_in_size)
    if net.num_known_conds:
        kwargs["cond_id"] = [net.num_known_conds - 1, 0]
    elif getattr(net, "cond_chunk_embs", False):
        tensors = {"uncond_weights": list(kwargs["weights"].values())} if kwargs["weights"] else {}
        kwargs["weights"] = {**tensors, "chunk_embs": torch.randn(batch, net.num_chunks, net.chunk_emb_size)}
    parts = net.internal_hnets if isinstance(net, HContainer) else [net]
    if any(part.cond_in_size and not part.num_known_conds for part in parts):
        kwargs["cond_input"] = torch.randn(batch, net.cond_in_size)
    return kwargs


def use(net):
    """Use all functions of a hypernetwork."""
    kwargs = inputs(net, 2)
    batch = 2 if len(kwargs) > 1 or "chunk_embs" in (kwargs["weights"] or {}) else 1
    for train in (True, False):
        net.train(train)
        out = net(**kwargs, ret_format="flattened")
        assert out.shape == (batch, net.num_outputs)
        assert out.isfinite().all()
    assert [list(t.shape) for t in net(**kwargs, ret_format="sequential")[0]] == net.target_shapes
    if net.uncond_in_size:
        where = {"weights": inputs(net, 1)["weights"]}
        if net.num_known_conds:
            where["cond_id"] = 0
        if "cond_input" in kwargs:
            where["cond_input"] = kwargs["cond_input"][0]
        g = net.geometry(**where)
        z = g.draw_latent(2)
        assert g.gram(z).shape == (2, net.uncond_in_size, net.uncond_in_size)
        assert g.sqdist(z).isfinite().all()
    if net.num_known_conds:
        net.add_conditions(1)
        assert net(**inputs(net, 2), ret_format="flattened").shape == (2, net.num_outputs)
    net.load_state_dict(net.state_dict())
    repr(net)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_accepted_arguments_work(cls, data):
    """One argument, or none, may be replaced by a wrong value."""
    arguments = {"verbose": False, **data.draw(CLASSES[cls])}
    spoilt = data.draw(st.sampled_from([*[None] * len(arguments), *arguments]))
    if spoilt is not None:
        arguments[spoilt] = data.draw(WRONG)
    try:
        net = cls(**arguments)
    except (ValueError, TypeError) as error:
        message = str(error)
        named = re.match(r"([\w\[\]' ]+): expected .* got ", message, re.DOTALL)
        known = set(inspect.signature(cls.__init__).parameters)
        assert named, message
        assert set(named.group(1).split(" and ")) <= known, message
    else:
        use(net)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({**MLP, "stretch": FLAG}))
def test_possible_arguments_are_accepted(arguments):
    """A perceptron is refused only without inputs, a skip connection only without latent or hidden layers."""
    usable = arguments["uncond_in_size"] + arguments["cond_in_size"] > 0
    skip = not arguments["linear_skip"] or (arguments["layers"] and arguments["uncond_in_size"])
    skip = skip and (arguments["linear_skip"] or not arguments["stretch"])
    try:
        HMLP(**arguments, verbose=False)
    except ValueError:
        assert not (usable and skip)
    else:
        assert usable
        assert skip
