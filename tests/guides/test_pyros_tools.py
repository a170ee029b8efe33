"""Pyro's own tools beside the loss: learning rates per parameter, saved optimizers, predictions, drawings of models."""

import gc
import weakref

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer import Predictive as PyrosPredictive
from pyro.infer.inspect import generate_graph_specification, get_model_relations
from torch import nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.distributions import FanInGaussian, MeanFieldPosterior
from bayeshnet.estimators import LIVI, SSGE
from bayeshnet.guides import AutoHypernet, BayesianModel, Categorical, Gaussian, HypernetGuide, MeanFieldGuide
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

X = torch.linspace(-1, 1, 15, dtype=DTYPE).reshape(5, 3)
Y = X.sum(1, keepdim=True)


@pytest.fixture(autouse=True)
def _no_parameters():
    pyro.clear_param_store()


def problem():
    """A model with learned noise and a guide, whose parameters are three."""
    torch.manual_seed(0)
    net = nn.Linear(3, 1).to(DTYPE)
    guide = MeanFieldGuide(net).to(DTYPE)
    prior = FanInGaussian(guide.weight_spec, dtype=DTYPE)
    return BayesianModel(net, prior, Gaussian(torch.tensor(0.3, dtype=DTYPE), learn=True)), guide


def values(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def program(y=None):
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros((), dtype=DTYPE), 1.0))
    with pyro.plate("data", 5):
        return pyro.sample("y", dist.Normal(torch.zeros((), dtype=DTYPE), scale), obs=y)


def test_learning_rates_per_parameter():
    """Of SGD a step is the gradient times the learning rate of the name."""
    model, guide = problem()
    names, before = [], values(guide, model)

    def rates(name):
        names.append(name)
        return {"lr": 0.0 if "mean" in name else 0.25 if name.startswith("model") else 0.5}

    svi = SVI(model, guide, pyro.optim.SGD(rates), Trace_ELBO())
    torch.manual_seed(1)
    svi.step(X, Y)
    assert sorted(names) == ["guide.posterior.log_sigma", "guide.posterior.mean.u", "model.likelihood.log_scale"]
    after = dict(
        zip([n for m in ("guide", "model") for n in named(m, model, guide)], values(guide, model), strict=True)
    )
    other, twin = problem()
    torch.manual_seed(1)
    Trace_ELBO().differentiable_loss(other, twin, X, Y).backward()
    gradients = [p.grad for m in (twin, other) for p in m.parameters()]
    for name, old, gradient in zip(after, before, gradients, strict=True):
        rate = 0.0 if "mean" in name else 0.25 if name.startswith("model") else 0.5
        torch.testing.assert_close(after[name], old - rate * gradient)
        assert gradient.abs().max() > 0
    assert list(pyro.get_param_store()) == []


def named(prefix, model, guide):
    return [f"{prefix}.{name}" for name, _ in (guide if prefix == "guide" else model).named_parameters()]


def test_learning_rates_and_clipping_by_module_and_name():
    """The older form of Pyro's arguments, a function of two names."""
    model, guide = problem()
    seen, before = [], values(guide)

    def clip(module, name):
        seen.append((module, name))
        return {"clip_value": 1e-3}

    optimizer = pyro.optim.PyroOptim(torch.optim.SGD, lambda module, name: {"lr": float(module == "guide")}, clip)
    noise = model.likelihood.log_scale.detach().clone()
    SVI(model, guide, optimizer, Trace_ELBO()).step(X, Y)
    assert set(seen) == {
        ("guide", "posterior.log_sigma"),
        ("guide", "posterior.mean.u"),
        ("model", "likelihood.log_scale"),
    }
    moved = torch.cat([(a - b).abs().flatten() for a, b in zip(values(guide), before, strict=True)])
    assert 0 < moved.max() <= 1e-3 + 1e-12
    assert torch.equal(model.likelihood.log_scale, noise)


def steps(model, guide, optimizer, first, count):
    svi = SVI(model, guide, optimizer, Trace_ELBO())
    for step in range(first, first + count):
        torch.manual_seed(step)
        svi.step(X, Y)


@pytest.mark.parametrize("by_file", [True, False])
def test_a_saved_optimizer_goes_on_where_it_was(by_file, tmp_path):
    model, guide = problem()
    optimizer = pyro.optim.Adam({"lr": 0.05})
    steps(model, guide, optimizer, 0, 6)
    state = optimizer.get_state()
    assert len(state) == 3
    assert all(each["state"][0]["step"] == 6 for each in state.values())
    optimizer.save(tmp_path / "optimizer")
    torch.save([guide.state_dict(), model.state_dict()], tmp_path / "parts")
    steps(model, guide, optimizer, 6, 6)
    pyro.clear_param_store()
    other, twin = problem()
    for part, saved in zip((twin, other), torch.load(tmp_path / "parts"), strict=True):
        part.load_state_dict(saved)
    fresh = pyro.optim.Adam({"lr": 0.05})
    fresh.load(tmp_path / "optimizer") if by_file else fresh.set_state(state)
    steps(other, twin, fresh, 6, 6)
    if by_file:  # else the state is that of the first optimizer, which has gone on
        for one, same in zip(values(guide, model), values(twin, other), strict=True):
            assert torch.equal(one, same)
    assert fresh.get_state().keys() == state.keys()


def test_an_automatic_guide_is_saved_and_has_names_too(tmp_path):
    guide = AutoHypernet(program, layers=(4,))
    optimizer = pyro.optim.Adam(lambda name: {"lr": 0.01 if name.startswith("AutoHypernet.posterior") else 1.0})
    SVI(program, guide, optimizer, Trace_ELBO()).step(Y[:, 0])
    assert len(optimizer.get_state()) == sum(1 for _ in guide.parameters())
    optimizer.save(tmp_path / "optimizer")
    assert None not in torch.load(tmp_path / "optimizer")


def test_names_keep_no_parameters_alive():
    model, guide = problem()
    SVI(model, guide, pyro.optim.SGD({"lr": 0.1}), Trace_ELBO()).step(X, Y)
    names = pyro.get_param_store()._param_to_name
    assert len(names) == 3
    alive = weakref.ref(next(guide.parameters()))
    del model, guide
    gc.collect()
    assert alive() is None
    assert len(names) == 0


def test_two_guides_in_one_program_are_both_trained():
    spec = WeightSpec.of(nn.Linear(3, 1))
    parts = {name: HypernetGuide(MeanFieldPosterior(spec), name=name) for name in ("a", "b")}

    def model():
        for name in parts:
            pyro.sample(name, dist.Normal(torch.ones(spec.numel), 0.1).to_event(1))

    def guide():
        for part in parts.values():
            part()

    before = values(*parts.values())
    optimizer = pyro.optim.SGD({"lr": 0.01})
    SVI(model, guide, optimizer, Trace_ELBO()).step()
    assert all(not torch.equal(a, b) for a, b in zip(values(*parts.values()), before, strict=True))
    assert len(optimizer.get_state()) == 4


def segmentation():
    net = nn.Conv2d(1, 2, 3, padding=1).to(DTYPE)
    x = torch.randn(5, 1, 2, 3, dtype=DTYPE)
    return net, Categorical(), x, (5, 2, 3)


def regression():
    return nn.Linear(3, 1).to(DTYPE), Gaussian(torch.tensor(1e-6, dtype=DTYPE)), X, (5, 1)


@pytest.mark.parametrize("num", [5, 7])
@pytest.mark.parametrize("make", [regression, segmentation])
def test_parallel_predictions_are_those_one_by_one(make, num):
    """With as many samples as examples, too, where a sample might be taken for an example."""
    torch.manual_seed(0)
    net, likelihood, x, shape = make()
    model = BayesianModel(net, FanInGaussian(WeightSpec.of(net), dtype=DTYPE), likelihood)
    w = 3 * torch.randn(num, model.weight_spec.numel, dtype=DTYPE)
    y = PyrosPredictive(model, posterior_samples={"weights": w}, parallel=True)(x)["y"]
    assert y.shape == (num, *shape)
    if make is regression:
        torch.testing.assert_close(y, model.outputs(w, x), atol=1e-4, rtol=0)
    guide = MeanFieldGuide(net).to(DTYPE)
    for parallel in (False, True):
        found = PyrosPredictive(model, guide=guide, num_samples=num, parallel=parallel)(x)
        assert found["y"].shape == (num, *shape)
        if make is regression:
            flat = found["weights"].reshape(num, -1)
            torch.testing.assert_close(found["y"], model.outputs(flat, x), atol=1e-4, rtol=0)


def test_parallel_predictions_of_an_automatic_guide():
    guide = AutoHypernet(program, layers=(4,))
    guide(Y[:, 0])
    found = PyrosPredictive(program, guide=guide, num_samples=7, parallel=True)()
    assert found["y"].shape == (7, 5)
    assert found["scale"].reshape(-1).unique().numel() == 7


def test_other_plates_at_the_dimension_of_the_data_are_refused():
    net, likelihood, x, _ = regression()
    model = BayesianModel(net, FanInGaussian(WeightSpec.of(net), dtype=DTYPE), likelihood)
    with pytest.raises(ValueError, match="dim=-2 or further left"):
        pyro.plate("particles", 4, dim=-1)(model)(x)


def test_models_and_guides_can_be_drawn():
    model, guide = problem()
    relations = get_model_relations(model, (X, Y))
    assert relations["sample_sample"] == {"weights": [], "y": ["weights"]}
    assert relations["sample_param"] == {"weights": [], "y": ["model$$$likelihood.log_scale"]}
    assert relations["observed"] == ["y"]
    assert relations["plate_sample"] == {"data": ["y"]}
    names = {"guide$$$posterior.log_sigma", "guide$$$posterior.mean.u"}
    relations = get_model_relations(guide, (X, Y))
    assert relations["sample_sample"] == {"weights": []}
    assert set(relations["sample_param"]["weights"]) == set(relations["param_constraint"]) == names
    automatic = AutoHypernet(program, layers=(4,))
    for args in ((), (Y[:, 0],)):
        relations = get_model_relations(automatic, args)
        assert relations["sample_sample"]["scale"] == ["_AutoHypernet_latent"]
        declared = set(relations["param_constraint"])
        assert set(relations["sample_param"]["_AutoHypernet_latent"]) == declared
        assert len(declared) == sum(1 for _ in automatic.parameters())
    for drawn, args in ((model, (X, Y)), (guide, (X, Y)), (automatic, ())):
        assert generate_graph_specification(get_model_relations(drawn, args), render_params=True)["node_data"]


@pytest.mark.parametrize("estimator", [None, SSGE(), LIVI()])
def test_a_drawing_needs_no_density(estimator):
    """Whatever estimates the divergence, and whatever the posterior."""
    spec = WeightSpec.of(nn.Linear(3, 1))
    posterior = ImplicitGenerator(latent_size=2).build(spec)
    guide = HypernetGuide(posterior, estimator)
    for vectorized in (False, True):
        drawn = pyro.plate("particles", 3, dim=-2)(guide) if vectorized else guide
        relations = get_model_relations(drawn, (X, Y))
        assert len(relations["sample_param"]["weights"]) == sum(1 for _ in posterior.parameters())
