"""Random arguments of layers: accepted ones work, errors name the refused one."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeshnet.layers import BatchNormLayer, ContextModLayer, SelfAttnLayerV2, SpectralNorm

FLAG = st.booleans()
WRONG = st.sampled_from([None, -1, 0, 1.5, float("nan"), "x", [], [0], [None], {}, {"a": 1}, torch.zeros(2)])
LAYERS = {
    BatchNormLayer: {
        "num_features": st.just(3),
        "momentum": st.sampled_from([0.1, None]),
        "affine": FLAG,
        "track_running_stats": FLAG,
        "frozen_stats": FLAG,
        "learnable_stats": FLAG,
    },
    ContextModLayer: {
        "num_features": st.sampled_from([3, (3,)]),
        "no_weights": FLAG,
        "no_gains": FLAG,
        "no_shifts": FLAG,
        "apply_gain_offset": FLAG,
        "apply_gain_softplus": FLAG,
        "softplus_scale": st.just(2.0),
    },
    SelfAttnLayerV2: {"in_dim": st.integers(7, 9), "use_spectral_norm": FLAG, "no_weights": FLAG},
    SpectralNorm: {
        "shape": st.sampled_from([(3, 2), [3, 2, 1]]),
        "num_iters": st.integers(1, 2),
        "dim": st.integers(0, 1),
    },
}


def use(layer, arguments):
    """One pass in either mode, and a round trip of the state."""
    for train in (True, False):
        layer.train(train)
        if isinstance(layer, SpectralNorm):
            out = layer(torch.randn(tuple(arguments["shape"])))
        elif isinstance(layer, BatchNormLayer):
            out = layer(torch.randn(4, arguments["num_features"]))
        elif isinstance(layer, ContextModLayer):
            given = [torch.randn(s) for s in layer.param_shapes] if layer.weights is None else None
            out = layer(torch.randn(4, 3), weights=given)
        else:
            given = [torch.randn(s) for s in layer.weight_shapes] if layer.weights is None else None
            out = layer(torch.randn(2, arguments["in_dim"], 3, 2), weights=given)
        assert out.isfinite().all()
    layer.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_accepted_arguments_work(cls, data):
    """One argument, or none, may be replaced by a wrong value."""
    arguments = data.draw(st.fixed_dictionaries(LAYERS[cls]))
    spoilt = data.draw(st.none() | st.sampled_from(list(arguments)))
    if spoilt is not None:
        arguments[spoilt] = data.draw(WRONG)
    try:
        layer = cls(**arguments)
    except (ValueError, TypeError) as error:
        message = str(error)
        named = re.match(r"(\w+): expected .* got ", message, re.DOTALL)
        assert named, message
        assert named.group(1) in arguments, message
    else:
        use(layer, arguments)
