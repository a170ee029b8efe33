"""WeightSpec: names, shapes, flattening, roles, fan-ins and whitening scales."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bayeshnet import WeightSpec
from bayeshnet.weights import ROLES, WeightEntry

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.lists(st.integers(1, 3), max_size=2))
def test_flatten_and_unflatten_are_inverse(shapes, batch):
    spec = WeightSpec.of_shapes(shapes)
    assert spec.numel == sum(math.prod(s) for s in shapes)
    flat = torch.randn(*batch, spec.numel)
    parts = spec.unflatten(flat)
    assert [tuple(p.shape) for p in parts.values()] == [(*batch, *s) for s in shapes]
    assert torch.equal(spec.flatten(parts), flat)
    assert torch.equal(spec.flatten(spec.split(flat)), flat)
    for name, part in parts.items():
        assert torch.equal(flat[..., spec.slice(name)].reshape(part.shape), part)


def test_unflatten_gives_views():
    spec = WeightSpec.of_shapes([[2, 3], [2]])
    flat = torch.zeros(4, 8)
    spec.unflatten(flat)["w1"][2, 1] = 5.0
    assert flat[2, 7] == 5.0
    assert flat.sum() == 5.0


def test_roles_and_fan_ins_of_modules():
    module = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "conv": nn.Conv2d(6, 4, 3, groups=2),
            "up": nn.ConvTranspose2d(4, 6, (2, 5)),
            "norm": nn.BatchNorm2d(4),
            "layer": nn.LayerNorm((2, 3)),
            "attention": nn.MultiheadAttention(4, 2),
            "out": nn.Linear(4, 3),
        }
    )
    spec = WeightSpec.of(module)
    found = {e.name: (e.role, e.fan_in, e.last) for e in spec.entries}
    assert found["embed.weight"][0] == "embedding"
    assert found["conv.weight"] == ("weight", 27, False)
    assert found["conv.bias"] == ("bias", 27, False)
    assert found["up.weight"] == ("weight", 40, False)
    assert found["norm.weight"][0] == "norm_scale"
    assert found["norm.bias"][0] == "norm_shift"
    assert found["layer.weight"][0] == "norm_scale"
    assert found["layer.bias"][0] == "norm_shift"
    assert found["attention.in_proj_weight"] == ("weight", 4, False)
    assert found["attention.in_proj_bias"][0] == "bias"
    assert found["out.weight"] == ("weight", 4, True)
    assert found["out.bias"] == ("bias", 4, True)
    assert {e.role for e in spec.entries} == set(ROLES)


def test_whitening_is_kaiming():
    net = nn.Sequential(nn.Linear(200, 100), nn.BatchNorm1d(100), nn.Linear(100, 10))
    whitening = WeightSpec.of(net).whitening(dtype=torch.float64)
    parts = WeightSpec.of(net).unflatten(whitening.scale)
    assert torch.all(parts["0.weight"] == math.sqrt(2 / 200))
    assert torch.all(parts["2.weight"] == math.sqrt(1 / 100))
    assert all(torch.all(parts[n] == 0.1) for n in ("0.bias", "1.weight", "1.bias", "2.bias"))
    locs = WeightSpec.of(net).unflatten(whitening.loc)
    assert all(torch.all(v == (1.0 if n == "1.weight" else 0.0)) for n, v in locs.items())
    assert whitening.scale.dtype == torch.float64
    own = WeightSpec.of(net).whitening(gain=1.0, last_gain=2.0, bias=0.5)
    assert torch.allclose(WeightSpec.of(net).unflatten(own.scale)["2.weight"], torch.tensor(0.2))
    # Pre-activations under u ~ N(0, I) have the variance that Kaiming's rule gives them.
    torch.manual_seed(0)
    w = whitening.scale * torch.randn(whitening.scale.shape, dtype=torch.float64)
    x = torch.randn(500, 200, dtype=torch.float64)
    hidden = x @ WeightSpec.of(net).unflatten(w)["0.weight"].T
    assert abs(hidden.var().item() - 2) < 0.3


def test_tied_parameters_count_once():
    module = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    module[1].weight = module[0].weight
    assert WeightSpec.of(module).names == ("0.weight", "0.bias", "1.bias")


def test_selection_mask_merge_spread():
    spec = WeightSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    heads = spec.select(lambda e: e.last)
    assert heads.names == ("1.weight", "1.bias")
    mask = spec.mask(lambda e: e.role == "bias")
    assert mask.tolist() == [False] * 6 + [True] * 3 + [False] * 3 + [True]
    assert spec.select(lambda e: not e.last).merge(heads) == spec
    assert spec.spread(torch.arange(4)).tolist() == [0] * 6 + [1] * 3 + [2] * 3 + [3]
    assert spec.spread(torch.zeros(5, 4)).shape == (5, 13)
    assert WeightSpec.of(nn.Linear(2, 2), lambda name, p: name == "bias").names == ("bias",)


def test_specs_are_records():
    spec = WeightSpec.of_shapes([[2, 3], [2]], names=["a", "b"], roles=["weight", "norm_scale"])
    assert spec == pickle.loads(pickle.dumps(spec))
    assert hash(spec) == hash(WeightSpec(spec.entries))
    assert spec.shapes == ((2, 3), (2,))
    assert torch.equal(WeightSpec.of_shapes([[]]).unflatten(torch.ones(3, 1))["w0"], torch.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: WeightSpec(()), "entries: expected at least one weight tensor"),
        (lambda s: s.merge(s), r"entries: expected distinct names, got \['w0', 'w1'\] more than once"),
        (lambda s: WeightSpec((WeightEntry("a", (2,), role="magic"),)), "role of 'a': expected one of weight"),
        (lambda s: s.unflatten(torch.zeros(3)), r"flat: expected a tensor of shape \(..., 8\)"),
        (lambda s: s.unflatten(torch.tensor(1.0)), r"flat: expected a tensor of shape \(..., 8\)"),
        (lambda s: s.flatten({"w0": torch.zeros(2, 3)}), r"tensors: expected a tensor for each name, got none"),
        (lambda s: s.flatten([torch.zeros(2, 3)]), "tensors: expected 2 tensors, got 1"),
        (lambda s: s.flatten([torch.zeros(3, 2), torch.zeros(2)]), r"tensor 'w0': expected .* \(..., 2, 3\)"),
        (lambda s: s.slice("w7"), "name: expected one of w0, w1, got 'w7'"),
        (lambda s: s.select(lambda e: False), "entries: expected at least one weight tensor"),
        (lambda s: s.spread(torch.zeros(3)), r"values: expected a tensor of shape \(..., 2\)"),
        (lambda s: WeightSpec.of(nn.ReLU()), "module: expected a module with parameters that are selected, got ReLU"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(WeightSpec.of_shapes([[2, 3], [2]]))


BAD_SHAPES = [
    ({"shapes": [[-1, 2]]}, "shapes: expected an integer >= 0"),
    ({"shapes": [[2], [2.5]]}, "shapes: expected an integer"),
    ({"shapes": [3]}, "shapes: expected a list or tuple of integers"),
    ({"shapes": ["ab"]}, "shapes: expected a list or tuple of integers"),
    ({"shapes": None}, "shapes: expected a list of at least one shape"),
    ({"shapes": []}, "shapes: expected a list of at least one shape"),
    ({"names": ["a"]}, "names: expected a list of 2 strings"),
    ({"names": "ab"}, "names: expected a list of 2 strings"),
    ({"names": ["a", 1]}, "names: expected a list of 2 strings"),
    ({"names": ["a", ""]}, "names: expected distinct names with at least one letter"),
    ({"names": ["a", None]}, "names: expected a list of 2 strings"),
    ({"names": ["a", "a"]}, "names: expected distinct names"),
    ({"roles": ["weight"]}, "roles: expected a list of 2 strings"),
    ({"roles": ["weight", "head"]}, "roles: expected one of"),
]


@pytest.mark.parametrize(("options", "message"), BAD_SHAPES)
def test_bad_shapes_names_and_roles_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        WeightSpec.of_shapes(**{"shapes": [[2, 3], [2]], **options})


def test_shapes_may_be_of_any_integers():
    spec = WeightSpec.of_shapes((torch.zeros(2, 3).shape, [np.int64(4)]), names=("a.b", "$"))
    assert spec.shapes == ((2, 3), (4,))
    assert spec.names == ("a.b", "$")


def test_lazy_modules_are_refused_until_their_shapes_are_known():
    net = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    with pytest.raises(ValueError, match="module: expected a module whose shapes are known, got the lazy parameter"):
        WeightSpec.of(net)
    net(torch.zeros(1, 2))
    assert WeightSpec.of(net).numel == 2 * 3 + 3 + 3 + 1
