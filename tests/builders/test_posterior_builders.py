"""Builders of posteriors: whitening, initialization and default condition; settings shown; old names accepted."""

import inspect

import pytest
import torch
from torch import nn

from bayeshnet import builders
from bayeshnet.builders import (
    ConditionedPosterior,
    ConvNetwork,
    DiracGenerator,
    HyperHypernetwork,
    ImplicitGenerator,
    LowRankWeights,
    MeanFieldGenerator,
    MeanFieldWeights,
    MLPNetwork,
    PointWeights,
    PosteriorBuilder,
    RadialGenerator,
    RadialWeights,
)
from bayeshnet.distributions import HypernetPosterior
from bayeshnet.functional import batched_forward
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.inference import fit
from bayeshnet.representation import settings_of
from bayeshnet.weights import WeightSpec

NET = nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1))
SPEC = WeightSpec.of(NET)
POSTERIORS = [
    MeanFieldWeights(sigma=0.2),
    RadialWeights(),
    LowRankWeights(rank=3),
    PointWeights(gain=1.0),
    ImplicitGenerator(latent_size=3, sigma="learned"),
    ImplicitGenerator(chunk_size=10, sigma="generated"),
    HyperHypernetwork(latent_size=3, hidden_layers=(5,)),
    MeanFieldGenerator(init_std=0.2),
    RadialGenerator(),
    DiracGenerator(hidden_layers=()),
]
NETWORKS = [MLPNetwork((5,), "tanh"), ConvNetwork((3,), (4,), image_shape=(1, 4, 4))]


def name(builder):
    return type(builder).__name__


@pytest.mark.parametrize("builder", POSTERIORS, ids=name)
def test_a_posterior_needs_no_condition_and_begins_as_a_fresh_network(builder):
    torch.manual_seed(0)
    posterior, prior = builder.build(SPEC), builder.prior(SPEC)
    w = posterior.rsample((50,))
    u = (w.detach() - prior.loc) / prior.scale
    weights = torch.cat([u[:, :20], u[:, 30:40]], dim=1)
    assert weights.square().mean().sqrt() == pytest.approx(1.0, abs=0.4)
    biases = torch.cat([u[:, 20:30], u[:, 40:]], dim=1)
    if not getattr(builder, "chunk_size", None):
        assert biases.square().mean().sqrt() < 0.4
    w.sum().backward()
    assert any(p.grad is not None for p in posterior.parameters())
    if isinstance(posterior, ConditionedPosterior):
        assert posterior.num_conditions == 1
        torch.manual_seed(1)
        default = posterior.rsample((2,))
        torch.manual_seed(1)
        torch.testing.assert_close(posterior.draw(2, cond_id=0).w, default)


@pytest.mark.slow
def test_a_module_made_bayesian_trains():
    """With the defaults the residual of a regression is near the noise, a small part of the targets' variance."""
    torch.manual_seed(0)
    x = torch.rand(100, 2) * 4 - 2
    y = torch.sin(x[:, :1]) + 0.1 * torch.randn(100, 1)
    builder = ImplicitGenerator(latent_size=8)
    posterior, prior = builder.build(SPEC), builder.prior(SPEC)
    assert isinstance(posterior, HypernetPosterior)
    assert prior.whitened_by(posterior().whitening)
    model = BayesianModel(NET, prior, Gaussian(0.1), num_data=100)
    fit(model, HypernetGuide(posterior), (x, y), num_steps=1000, lr=1e-2, num_samples=4, num_particles=2)
    with torch.no_grad():
        mean = batched_forward(model.net, posterior.rsample((100,)), x).mean(0)
    residual = float((mean - y).square().mean())
    assert residual < 2 * 0.1**2 < 0.05 * y.var()


@pytest.mark.parametrize("builder", [*POSTERIORS, *NETWORKS], ids=name)
def test_settings_are_shown(builder):
    old = {"hidden", "layers", "outer_layers", "spread"}
    wanted = {p for p in inspect.signature(type(builder)).parameters if p not in old}
    assert set(settings_of(builder)) == wanted
    for setting, value in settings_of(builder).items():
        assert f"{setting}={value!r}" in repr(builder)


OLD = {
    "layers": (ImplicitGenerator, "hidden_layers", (5,)),
    "spread": (MeanFieldGenerator, "init_std", 0.3),
    "outer_layers": (HyperHypernetwork, "outer_hidden_layers", (5,)),
    "hidden": (MLPNetwork, "hidden_layers", (5,)),
}


@pytest.mark.parametrize("old", OLD)
def test_old_names_are_accepted_with_a_warning(old):
    builder, new, value = OLD[old]
    with pytest.warns(DeprecationWarning, match=f"the argument {old} is deprecated: use {new}") as caught:
        assert getattr(builder(**{old: value}), new) == value
    assert caught[0].filename == __file__


@pytest.mark.parametrize("old", OLD)
def test_configurations_with_old_names_are_read(old):
    jsonargparse = pytest.importorskip("jsonargparse")
    builder, new, value = OLD[old]
    base = PosteriorBuilder if issubclass(builder, PosteriorBuilder) else builders.NetworkBuilder
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--builder", type=base)
    given = list(value) if isinstance(value, tuple) else value
    settings = parser.parse_object({"builder": {"class_path": builder.__name__, "init_args": {old: given}}})
    with pytest.warns(DeprecationWarning, match=new):
        built = parser.instantiate(settings).builder
    assert getattr(built, new) == value


@pytest.mark.parametrize("home", ["builders", "builders.base", "continual"])
def test_the_old_name_of_the_contract(home):
    import importlib

    with pytest.warns(DeprecationWarning, match="PosteriorBuilder"):
        assert importlib.import_module(f"bayeshnet.{home}").PosteriorFamily is PosteriorBuilder


def test_refusals():
    for arguments, match in (
        ({"hidden_layers": (0,)}, "hidden_layers"),
        ({"init_std": -1.0}, "init_std"),
        ({"latent_size": 0}, "latent_size"),
        ({"sigma": "nonsense"}, "sigma"),
    ):
        with pytest.raises(ValueError, match=match):
            ImplicitGenerator(**arguments)
    with pytest.raises(ValueError, match="activation"):
        ImplicitGenerator(activation="step").build(SPEC)
