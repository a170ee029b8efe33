"""Programs as users write them: without plates around them in mind, with parameters, masks, and data of other sizes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import ImplicitELBO, fit
from tests.support.oracles import DTYPE

ONE = torch.ones((), dtype=DTYPE)
X = torch.tensor([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]], dtype=DTYPE)
Y = torch.tensor([0.3, 1.0, -0.7], dtype=DTYPE)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def product():
    """A product of a matrix with the weights, which is none with rows of them."""
    w = pyro.sample("w", dist.Normal(torch.zeros(2, dtype=DTYPE), 1.0).to_event(1))
    pyro.sample("y", dist.Normal(X @ w, 0.5).to_event(1), obs=Y)


def mixing():
    """A mean over all entries: under a plate it is one over all particles, and nothing raises."""
    w = pyro.sample("w", dist.Normal(torch.zeros(2, dtype=DTYPE), 1.0).to_event(1))
    pyro.factor("seen", -3.0 * (w.mean() - 1.0) ** 2)


def plated():
    w = pyro.sample("w", dist.Normal(torch.zeros(2, dtype=DTYPE), 1.0).to_event(1))
    with pyro.plate("data", len(Y)):
        pyro.sample("y", dist.Normal((w * X).sum(-1), 0.5), obs=Y)


def subsampled():
    w = pyro.sample("w", dist.Normal(torch.zeros(2, dtype=DTYPE), 1.0).to_event(1))
    with pyro.plate("data", len(Y), subsample_size=2) as i:
        pyro.sample("y", dist.Normal((w * X[i]).sum(-1), 0.5), obs=Y[i])


@pytest.mark.parametrize(("model", "together"), [(product, False), (mixing, False), (plated, True), (subsampled, True)])
def test_particles_of_a_model_that_is_not_written_for_plates_run_one_by_one(model, together, caplog):
    guide = AutoHypernet(model)
    guide()
    runs = []

    def counted():
        runs.append(1)
        model()

    bound = ImplicitELBO(num_particles=5, num_samples=4)
    bound.terms(counted, guide)
    runs.clear()
    torch.manual_seed(0)
    found = bound.terms(counted, guide)
    assert len(runs) == (1 if together else 5)
    assert ("one after the other" in caplog.text) is not together
    if not together:
        torch.manual_seed(0)
        looped = ImplicitELBO(num_particles=5, num_samples=4, vectorize_particles=False).terms(model, guide)
        torch.testing.assert_close(found.loss, looped.loss)


def test_the_question_to_a_model_leaves_the_state_of_generators():
    guide = AutoHypernet(plated)
    guide()
    losses = []
    for bound in (ImplicitELBO(num_particles=3), ImplicitELBO(num_particles=3, max_plate_nesting=2)):
        bound._asked = (plated, True) if losses else None
        bound.max_plate_nesting = 2
        torch.manual_seed(1)
        losses.append(bound.terms(plated, guide).loss.item())
    assert losses[0] == losses[1]


def test_a_model_without_plates_is_fitted():
    result = fit(product, AutoHypernet(product, layers=()), num_steps=2, num_particles=3)
    assert bool(result.history["loss"].isfinite().all())


class Learned(pyro.nn.PyroModule):
    """A normal mean whose prior's scale is a parameter of the module."""

    def __init__(self):
        super().__init__()
        self.scale = pyro.nn.PyroParam(ONE.clone(), constraint=dist.constraints.positive)

    def forward(self):
        mean = pyro.sample("mean", dist.Normal(0.0 * ONE, self.scale))
        with pyro.plate("data", 3):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.tensor([3.0, 2.0, 4.0], dtype=DTYPE))


def loose():
    scale = pyro.param("loose_scale", ONE.clone(), constraint=dist.constraints.positive)
    mean = pyro.sample("mean", dist.Normal(0.0 * ONE, scale))
    pyro.sample("y", dist.Normal(mean, 1.0), obs=3.0 * ONE)


def test_parameters_of_a_module_are_learned():
    """The scale of highest evidence is that of the mean of the data less its noise."""
    torch.manual_seed(0)
    model = Learned()
    fit(model, AutoHypernet(model, layers=()), num_steps=120, lr=0.06, num_particles=4, alarms=False)
    assert model.scale.item() == pytest.approx(math.sqrt(9 - 1 / 3), rel=0.1)


def test_parameters_that_nothing_would_train_are_refused():
    with pytest.raises(ValueError, match=r"model: expected learned parts as parameters of a module.*'loose_scale'"):
        fit(loose, AutoHypernet(loose, layers=()), num_steps=2)


def test_parameters_of_the_store_are_trained_by_an_optimizer_that_has_them():
    guide = AutoHypernet(loose, layers=())
    guide()
    own = pyro.param("loose_scale").unconstrained()
    before = float(own.detach())
    fit(loose, guide, num_steps=2, optimizer=torch.optim.Adam([*guide.parameters(), own], lr=0.1))
    assert float(own.detach()) != before


def masked():
    with pyro.plate("all", 3), poutine.mask(mask=torch.tensor([True, False, True])):
        pyro.sample("x", dist.Normal(0.0 * ONE, 1.0))


def hidden():
    with pyro.plate("all", 3), poutine.mask(mask=torch.tensor([True, True, True])):
        pyro.sample("x", dist.Normal(0.0 * ONE, 1.0))


def partly():
    mean = pyro.sample("mean", dist.Normal(0.0 * ONE, 1.0))
    with pyro.plate("data", 3):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=Y, obs_mask=torch.tensor([True, False, True]))


@pytest.mark.parametrize("model", [masked, partly])
def test_unknowns_without_a_density_have_no_weights(model):
    guide = AutoHypernet(model, layers=())
    assert guide.sample_posterior(3)  # draws are as those of Pyro's guides
    with pytest.raises(ValueError, match=r"model: expected unknowns with a density, got site '.*', which is masked"):
        guide.check(model, num_samples=100)


def test_a_mask_that_hides_nothing_is_taken():
    assert AutoHypernet(hidden, layers=()).check(hidden, num_samples=100, num_particles=0).num_samples == 100


def local(y, dependent=True):
    mean = pyro.sample("mean", dist.Normal(0.0 * ONE, 1.0))
    with pyro.plate("data", len(y)):
        x = pyro.sample("x", dist.Normal(mean if dependent else 0.0 * ONE, 1.0))
        pyro.sample("y", dist.Normal(x + mean, 1.0), obs=y)


@pytest.mark.parametrize("dependent", [True, False])
@pytest.mark.parametrize("first", [1, 2])
def test_data_of_other_unknowns_are_refused_by_name(first, dependent):
    """Of one datum its unknown would be broadcast to all data, which raises nothing."""
    guide = AutoHypernet(local, layers=())
    guide(Y[:first], dependent)
    message = rf"arguments of the model: .* 'x' has shape \(3,\), where that of the guide has \({first},\)"
    with pytest.raises(ValueError, match=message):
        guide.check(local, Y, dependent, num_samples=100)
    with pytest.raises(ValueError, match=message):
        guide.resample(3, local, Y, dependent)
    if dependent:
        with pytest.raises(ValueError, match=message):
            guide(Y, dependent)
        with pytest.raises(ValueError, match=message):
            guide.sample_posterior(3, Y, dependent)


def test_shapes_of_events_and_crossed_plates_are_those_of_the_guide():
    """Matrices whose unconstrained values are vectors, and plates in each order."""

    def model():
        scale = pyro.sample("scale", dist.HalfNormal(ONE))
        rows, columns = pyro.plate("rows", 3, dim=-2), pyro.plate("columns", 2, dim=-1)
        with rows:
            pyro.sample("a", dist.Normal(0.0, scale))
            pyro.sample("root", dist.LKJCholesky(3, ONE))
        with columns, rows:
            pyro.sample("b", dist.Normal(0.0, scale).expand([3, 2, 4]).to_event(1))

    guide = AutoHypernet(model, layers=())
    shapes = {name: tuple(value.shape[1:]) for name, value in guide.sample_posterior(2).items()}
    assert shapes == {"scale": (), "a": (3, 1), "root": (3, 1, 3, 3), "b": (3, 2, 4)}
    assert guide.check(model, num_samples=100, num_particles=0).num_samples == 100
    assert isinstance(guide, nn.Module)
