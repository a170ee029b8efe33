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
from bayeshnet.builders import MeanFieldWeights
from bayeshnet.continual import SplitHeads
from bayeshnet.estimators import NuMethod
from bayeshnet.geometry import ConstantGeometry
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec


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


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("continual.families", "PosteriorFamily", "builders.PosteriorBuilder"),
        ("continual.initialization", "init_generator", "builders.initialization.init_hypernetwork"),
        ("estimators.nearest_neighbour", "NearestNeighbour", "estimators.NearestNeighbor"),
        ("guides.defaults", "has_exact_density", "guides.implicit_site.has_exact_density"),
        ("guides.sites", "bare", "guides.sites.unwrapped"),
        ("hnets.selection_geometry", "ConstantGeometry", "geometry.ConstantGeometry"),
        ("metrics.continual", "summarise", "metrics.summarize"),
        ("reports.comparison", "comparison_pictures", "reports.comparison_figures"),
        ("reports.html", "run_pictures", "reports.run_figures"),
        ("reports.records", "RunArrays", "reports.FigureData"),
        ("reports.style", "TASK_COLOURS", "reports.style.TASK_COLORS"),
        ("reports.tables", "foreign_table", "reports.ood_table"),
        ("runs.arrays", "make_arrays", "runs.results.figure_data.make_figure_data"),
        ("runs.evaluation", "predict_seen", "runs.results.assessment.predict_test_inputs"),
        ("runs.experiment", "Listener", "runs.Listener"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_names_are_found_in_their_old_modules(module, old, new):
    home, _, name = new.rpartition(".")
    found = getattr(importlib.import_module(f"bayeshnet.{module}"), old)
    assert found is getattr(importlib.import_module(f"bayeshnet.{home}"), name)


def test_old_keyword_arguments_are_accepted():
    spec = WeightSpec.of(nn.Linear(2, 3))
    builder, geometry = MeanFieldWeights(), ConstantGeometry(torch.tensor([1.0, 2.0]), 3)
    hnet = HMLP([[2, 3]], uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=(), verbose=False)
    z, center = torch.zeros(2), torch.ones(6)
    with pytest.warns(DeprecationWarning, match="argument spec is deprecated: use weight_spec"):
        assert builder.build(spec=spec).weight_spec is builder.prior(spec=spec).weight_spec
    with pytest.warns(DeprecationWarning, match="argument centre is deprecated: use center"):
        assert geometry.sqdist(torch.zeros(3), centre=torch.ones(2)) == 1
    with pytest.warns(DeprecationWarning, match="argument centre is deprecated: use center"):
        assert hnet.sqdist(z, centre=center) == hnet.sqdist(z, center)
    with pytest.warns(DeprecationWarning, match="argument number is deprecated: use task_id"):
        assert SplitHeads().block(number=1, size=2) == SplitHeads().block(1, 2)
    with pytest.warns(DeprecationWarning, match="regularisation is deprecated: use regularization"):
        assert NuMethod(regularisation=0.5).regularization == 0.5


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
