"""Old names and module paths keep working, and warn with the new name."""

import importlib
import inspect
import sys
from typing import ClassVar

import pytest
import torch
from torch import nn

import bayeshnet
from bayeshnet import deprecation


@pytest.mark.parametrize("old", sorted(deprecation._MODULES))
def test_moved_modules_warn_and_hand_on_the_same_objects(old):
    new = importlib.import_module(f"bayeshnet.{deprecation._MODULES[old]}")
    sys.modules.pop(f"bayeshnet.{old}", None)
    with pytest.warns(DeprecationWarning, match=new.__name__.replace(".", r"\.")):
        module = importlib.import_module(f"bayeshnet.{old}")
    assert module is not new
    for name in new.__all__:
        assert getattr(module, name) is getattr(new, name)
    assert importlib.import_module(new.__name__).__spec__.name == new.__name__


def test_other_modules_are_as_missing_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"bayeshnet\.continual\.nothing"):
        importlib.import_module("bayeshnet.continual.nothing")


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        ("hnets", "JacobianGeometry", "geometry.JacobianGeometry"),
        ("guides", "UnfoldedLIVI", "estimators.UnfoldedLIVI"),
        ("inference", "agreement", "metrics.compare_samples"),
        ("continual", "ImplicitGenerator", "builders.ImplicitGenerator"),
        ("continual", "derive_seed", "rng.derive_seed"),
    ],
)
def test_moved_names_warn(package, old, new):
    home, _, name = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"use bayeshnet.{new}"):
        found = getattr(importlib.import_module(f"bayeshnet.{package}"), old)
    assert found is getattr(importlib.import_module(f"bayeshnet.{home}"), name)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        bayeshnet.hnets.nothing  # noqa: B018


def test_renamed_argument():
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated: use num_samples"):
        assert deprecation.renamed_argument("num_latents", "num_samples", 3, None) == 3
    assert deprecation.renamed_argument("num_latents", "num_samples", None, 4) == 4
    with pytest.raises(TypeError, match="num_samples: expected one value"):
        deprecation.renamed_argument("num_latents", "num_samples", 3, 4)


class Renamed(deprecation.RenamedState, nn.Module):
    renamed_state: ClassVar = {"old": "new", "size": "width"}

    def __init__(self):
        super().__init__()
        self.new = nn.Linear(2, 3)
        self.older = nn.Linear(2, 1)
        self.register_buffer("width", torch.ones(()))


def test_states_with_former_names_are_loaded():
    """Names that only begin like a former one are left alone, and so is the dict that is given."""
    first, second = (nn.Sequential(nn.ReLU(), Renamed()) for _ in range(2))
    names = {"1.new.weight": "1.old.weight", "1.new.bias": "1.old.bias", "1.width": "1.size"}
    old = {names.get(name, name): value + 1 for name, value in first.state_dict().items()}
    given = dict(old)
    second.load_state_dict(old)
    assert old.keys() == given.keys()
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value + 1)


def test_renamed_arguments():
    """The old name is accepted and warned of where it is used; it is part of the signature only if listed."""

    @deprecation.renamed_arguments(size="num_samples")
    def draw(num_samples: int = 1, *, seed: int = 0) -> int:
        """Return the number."""
        return num_samples

    assert draw() == 1
    assert draw(2) == 2
    with pytest.warns(DeprecationWarning, match="the argument size is deprecated: use num_samples") as caught:
        assert draw(size=3) == 3
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="other"):
        draw(other=3)
    assert list(inspect.signature(draw).parameters) == ["num_samples", "seed"]
    listed = deprecation.renamed_arguments(listed=True, size="num_samples")(draw)
    assert inspect.signature(listed).parameters["size"].default is None
