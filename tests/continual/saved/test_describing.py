"""Descriptions: what is described is rebuilt the same, through JSON, for all parts that a learner can have."""

from __future__ import annotations

import inspect
import json
import math
from enum import Enum

import pytest
import torch
from torch import nn

from bayeshnet import builders, continual, estimators
from bayeshnet.builders import NetworkBuilder, PosteriorBuilder
from bayeshnet.continual import Heads, PseudoOutliers
from bayeshnet.continual.saved import TaskShape, describe
from bayeshnet.estimators import KLEstimator
from bayeshnet.guides import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Poisson
from bayeshnet.saving.rebuilding import differences, rebuild
from tests.support.tasks import same_state


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


class Color(Enum):
    RED = "r"


VALUES = [
    None,
    True,
    -3,
    2.5,
    "text",
    math.inf,
    (1, (2.0, "a"), [None]),
    {"a": 1, 2: (3, 4), (5, 6): {"tuple": [7]}},
    {},
    torch.float64,
    torch.device("cpu"),
    torch.Size([2, 3]),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_come_back(value):
    found = describe(value)
    assert found.own == {}
    again = rebuild(through_json(found.value))[0]
    assert again == value
    assert type(again) is (tuple if isinstance(value, torch.Size) else type(value))


def test_nan_and_tensors_come_back():
    assert math.isnan(rebuild(through_json(describe(math.nan).value))[0])
    for tensor in (torch.tensor([0.1, 1 / 3]), torch.tensor(7), torch.tensor([[True]]), torch.zeros(2, 0).double()):
        again = rebuild(through_json(describe(tensor).value))[0]
        assert again.dtype == tensor.dtype
        assert torch.equal(again, tensor)


@pytest.mark.parametrize(
    "value", [print, torch.tanh, {1, 2}, object(), torch.zeros(5000), torch.tensor(math.nan), Color]
)
def test_other_values_are_named(value):
    assert list(describe((0, value), "learner.x").own) == ["learner.x[1]"]


def subclasses(module, *bases):
    found = [getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))]
    return [cls for cls in found if issubclass(cls, bases) and not inspect.isabstract(cls)]


PARTS = {
    cls.__name__: cls
    for cls in [
        *subclasses(builders, NetworkBuilder, PosteriorBuilder),
        *subclasses(estimators, KLEstimator),
        *subclasses(continual, Heads, PseudoOutliers),
        continual.Coreset,
        continual.DensitySettings,
        continual.OutputRegularizer,
        continual.Training,
        Bernoulli,
        Categorical,
        Gaussian,
        HeteroscedasticGaussian,
        Poisson,
    ]
}
CHOSEN = {
    "ConvNetwork": {"channels": (2,), "image_shape": (1, 4, 4)},
    "Categorical": {"ignore_index": -100},
    "Gaussian": {"noise": torch.tensor([0.1, 0.2]), "learn": True},
    "HeteroscedasticGaussian": {"min_scale": 0.5},
    "Coreset": {"size": 3, "finish": continual.Training(steps=2)},
    "FixedSoftmax": {"num_tasks": 3},
    "ImplicitGenerator": {"latent_size": 3, "sigma": "generated", "gain": 0.5},
}


def required(cls):
    parameters = list(inspect.signature(cls).parameters.values())
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_learners_come_back(name):
    """Builders, estimators, heads, likelihoods and other settings, those with numbers of their own included."""
    cls = PARTS[name]
    needed = dict.fromkeys(required(cls), 3)
    for arguments in [needed, {**needed, **CHOSEN.get(name, {})}]:
        thing = cls(**arguments)
        found = describe(thing)
        assert found.own == {}
        again, modules = rebuild(through_json(found.value))
        assert type(again) is cls
        assert repr(again) == repr(thing)
        assert describe(again).value == found.value
        assert len(modules) == len(found.modules)
        if isinstance(thing, nn.Module):
            assert {k: v.shape for k, v in again.state_dict().items()} == {
                k: v.shape for k, v in thing.state_dict().items()
            }
            again.load_state_dict(thing.state_dict())
            assert same_state(again, thing)
            assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in thing.parameters()]


LAYERS = [
    nn.Linear(3, 2, bias=False),
    nn.Conv2d(2, 4, (3, 1), stride=2, padding="valid", groups=2, padding_mode="zeros"),
    nn.ConvTranspose2d(2, 3, 2, output_padding=1, stride=2),
    nn.BatchNorm2d(3, eps=1e-3, affine=False, track_running_stats=False),
    nn.GroupNorm(2, 4),
    nn.LayerNorm((2, 3), elementwise_affine=False),
    nn.Embedding(5, 3, padding_idx=0),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AdaptiveAvgPool2d((1, None)),
    nn.Dropout(0.25),
    nn.LeakyReLU(0.3),
    nn.PReLU(3, 0.1),
    nn.Softplus(beta=2),
    nn.Tanh(),
    nn.Identity(),
    nn.Flatten(2),
    nn.Unflatten(1, (2, 3)),
    nn.Upsample(scale_factor=2, mode="nearest"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_come_back(layer):
    net = nn.Sequential(layer, nn.Sequential(nn.ReLU())).eval()
    found = describe(net)
    assert found.own == {}
    again, modules = rebuild(through_json(found.value))
    assert repr(again) == repr(net)
    assert [m.training for m in again.modules()] == [False] * 4
    assert modules == ([again] if net.state_dict() else [])
    for module in modules:
        module.load_state_dict(net.state_dict())
        assert same_state(module, net)


@pytest.mark.parametrize("layer", [nn.LSTM(2, 3), nn.MultiheadAttention(4, 2), nn.LazyLinear(2)], ids=repr)
def test_layers_whose_arguments_are_not_known_are_named(layer):
    found = describe(nn.Sequential(layer), "learner.network")
    assert list(found.own) == ["learner.network"]
    assert type(layer).__name__ in found.own["learner.network"]


def test_differences_are_named():
    first = continual.EWC(builders.MLPNetwork((8,)), training=continual.Training(steps=2))
    second = continual.EWC(builders.MLPNetwork((9,)), training=continual.Training(steps=2), decay=0.5)
    found = differences(describe(first).value, describe(second).value)
    assert found == ["learner.network.hidden_layers[0]", "learner.decay"]


def test_a_shape_has_a_placeholder():
    shape = TaskShape("classification", [3, 4], 5, "int64", {"noise_std": 0.5})
    task = shape.placeholder()
    assert (task.kind, task.input_shape, task.num_outputs, task.info) == (
        "classification",
        (3, 4),
        5,
        {"noise_std": 0.5},
    )
    assert TaskShape.of(task) == shape
    assert shape.at_precision("float64") == shape
    assert TaskShape("regression", (2,), 1).at_precision("float64").placeholder().train.y.dtype == torch.float64
    for bad in ({"kind": "other"}, {"dtype": "save"}, {"num_outputs": 0}, {"input_shape": (-1,)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TaskShape(**{"kind": "regression", "input_shape": (2,), "num_outputs": 1, **bad})
