"""The contract of outputs and targets: what is refused, on which route, and with which words."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import (
    BayesianModel,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    MeanFieldGuide,
    Poisson,
)
from bayeshnet.inference import ImplicitELBO, Predictive, fit, reference_posterior
from bayeshnet.mnets import ModuleMainNet
from bayeshnet.weights import WeightSpec

X = torch.linspace(-1, 1, 8).reshape(4, 2)
LIKELIHOODS = {
    "categorical": (Categorical(), 3, torch.tensor([0, 1, 2, 0])),
    "bernoulli": (Bernoulli(), 2, torch.ones(4, 2)),
    "gaussian": (Gaussian(), 2, torch.ones(4, 2)),
    "heteroscedastic": (HeteroscedasticGaussian(), 4, torch.ones(4, 2)),
    "poisson": (Poisson(), 2, torch.ones(4, 2)),
}


def routes(net, likelihood):
    """Ways in for data, by name."""
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), likelihood)
    pyros = Trace_ELBO(num_particles=3, vectorize_particles=True)
    return {
        "fit": lambda x, y: fit(model, guide, (x, y), num_steps=1, num_particles=4),
        "fit with Trace_ELBO": lambda x, y: fit(model, guide, (x, y), num_steps=1, elbo=pyros),
        "fit with local noise": lambda x, y: fit(model, guide, (x, y), num_steps=1, local_noise=True),
        "ImplicitELBO": lambda x, y: ImplicitELBO(num_particles=3).loss(model, guide, x, y),
        "SVI": lambda x, y: SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), pyros).step(x, y),
        "NUTS": lambda x, y: reference_posterior(model, x, y, num_samples=2),
        "model": lambda x, y: model.log_likelihood(torch.zeros(3, guide.weight_spec.numel), x, y),
        "Predictive": lambda x, y: Predictive(guide, net, likelihood, 3).log_likelihood(x, y),
    }


ROUTES = list(routes(nn.Linear(2, 1), Gaussian()))
each_route = pytest.mark.parametrize("route", ROUTES)


@pytest.fixture(autouse=True)
def _no_parameters():
    pyro.clear_param_store()


WRONG_TARGETS = {
    "categorical": [
        torch.zeros(4, 1).long(),
        torch.zeros(4),
        torch.zeros(3).long(),
        torch.zeros(1).long(),
        torch.zeros(4, 3),
        torch.zeros(()).long(),
    ],
    "bernoulli": [torch.ones(4), torch.ones(4, 1), torch.ones(2, 4), torch.ones(1, 2), torch.ones(4, 2, 1)],
    "gaussian": [torch.ones(4), torch.ones(4, 1), torch.ones(2), torch.ones(1, 2), torch.ones(4, 2).to(torch.cfloat)],
    "heteroscedastic": [torch.ones(4), torch.ones(4, 1), torch.ones(4, 4)],
    "poisson": [torch.ones(4), torch.ones(4, 1)],
}


@each_route
@pytest.mark.parametrize(("name", "y"), [(name, y) for name, some in WRONG_TARGETS.items() for y in some])
def test_targets_that_would_be_broadcast_are_refused_everywhere(route, name, y):
    likelihood, width, _ = LIKELIHOODS[name]
    with pytest.raises((ValueError, TypeError), match=r"^(y|data): expected"):
        routes(nn.Linear(2, width), likelihood)[route](X, y)


class Steps(nn.Module):
    """A network whose outputs for ``N`` inputs are ``(N, T, C)``, of which ``N`` and ``T`` may be equal."""

    def __init__(self, width, steps):
        super().__init__()
        self.net, self.steps = nn.Linear(2, width), steps

    def forward(self, x):
        return self.net(x).unsqueeze(1).expand(-1, self.steps, -1)


@each_route
@pytest.mark.parametrize("steps", [3, 4, 5])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_targets_of_inputs_are_refused_for_outputs_per_step(route, name, steps):
    likelihood, width, y = LIKELIHOODS[name]
    with pytest.raises((ValueError, TypeError), match=r"^y: expected"):
        routes(Steps(width, steps), likelihood)[route](X, y)


@each_route
def test_classes_behind_steps_are_refused_with_advice(route):
    with pytest.raises(ValueError, match=r"^y: expected .*outputs.movedim\(-1, 1\)"):
        routes(Steps(3, 5), Categorical())[route](X, torch.zeros(4, 5).long())


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, x):
        return self.net(x), x


@each_route
def test_several_outputs_are_refused_everywhere(route):
    with pytest.raises(TypeError, match="net: expected a network that returns one floating tensor"):
        routes(Pair(), Gaussian())[route](X, torch.ones(4, 2))


def test_predictions_without_a_likelihood_keep_to_the_contract():
    net = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    assert Predictive(MeanFieldGuide(net), net, num_samples=3)(X).mean.shape == (4, 1)
    images = nn.Conv2d(1, 3, 1)
    assert Predictive(MeanFieldGuide(images), images)(torch.zeros(4, 1, 5, 5)).mean.shape == (4, 3, 5, 5)
    images = nn.Sequential(images, nn.Flatten(0, 1))
    with pytest.raises(ValueError, match=r"outputs of shape \(4, C\)"):
        Predictive(MeanFieldGuide(images), images)(torch.zeros(4, 1, 5, 5))


BAD_VALUES = {
    "categorical": [torch.tensor([0, 1, -100, 2]), torch.tensor([0, 1, -1, 2]), torch.tensor([0, 1, 3, 2])],
    "bernoulli": [torch.full((4, 2), 2.0), torch.full((4, 2), 0.5), torch.full((4, 2), float("nan"))],
    "gaussian": [torch.full((4, 2), float("nan")), torch.full((4, 2), float("inf"))],
    "heteroscedastic": [torch.full((4, 2), float("nan"))],
    "poisson": [torch.full((4, 2), -1.0), torch.full((4, 2), 0.5), torch.full((4, 2), float("inf"))],
}
DOORS = ["fit", "fit with Trace_ELBO", "ImplicitELBO", "SVI", "NUTS", "Predictive"]


@pytest.mark.parametrize("route", DOORS)
@pytest.mark.parametrize(("name", "y"), [(name, y) for name, some in BAD_VALUES.items() for y in some])
def test_targets_without_a_density_are_refused_where_data_enter(route, name, y):
    likelihood, width, _ = LIKELIHOODS[name]
    with pytest.raises(ValueError, match=r"^y: expected"):
        routes(nn.Linear(2, width), likelihood)[route](X, y)


@pytest.mark.parametrize("label", [-100, -1, 3])
def test_no_label_is_ignored_in_silence(label):
    logits, y = torch.zeros(4, 3), torch.tensor([0, 1, label, 2])
    with pytest.raises(ValueError, match="y: expected class indices from 0 to 2") as caught:
        Categorical().log_prob(logits, y)
    assert isinstance(caught.value.__cause__, IndexError)


def test_labels_to_be_ignored_are_a_setting():
    likelihood = Categorical(ignore_index=-1)
    assert repr(likelihood) == "Categorical(ignore_index=-1)"
    log_prob = likelihood.log_prob(torch.zeros(2, 4, 3), torch.tensor([0, -1, 2, -1]))
    nothing, third = 0.0, -torch.tensor(3.0).log()
    torch.testing.assert_close(log_prob, torch.tensor([[third, nothing, third, nothing]] * 2))
    likelihood.check_targets(torch.tensor([0, -1, 2]))
    with pytest.raises(ValueError, match="class indices"):
        likelihood.check_targets(torch.tensor([0, -100, 2]))
    with pytest.raises(TypeError, match="ignore_index"):
        Categorical(ignore_index=0.5)


def test_a_likelihood_of_ones_own_is_checked_by_its_distribution():
    class Tempered(Gaussian):
        takes = None

    model = BayesianModel(net := nn.Linear(2, 2), FanInGaussian(WeightSpec.of(net)), Tempered())
    with pytest.raises(ValueError, match=r"y: expected targets of shape \(4, 2\)"):
        model(X, torch.ones(4))


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_value_per_input_in_training(squeezed):
    """The same numbers, and so the same loss to the last digit, in whatever shape a single value comes."""
    losses = []
    for shape in [(4, 1), (4,)]:
        torch.manual_seed(0)
        line = nn.Linear(2, 1)
        net = ModuleMainNet(nn.Sequential(line, nn.Flatten(0)) if squeezed else nn.Sequential(line))
        guide = MeanFieldGuide(net)
        model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.3))
        y = torch.arange(4.0).reshape(shape)
        result = fit(model, guide, (X, y), num_steps=3, generator=torch.Generator().manual_seed(0))
        losses.append(result.history["loss"].tolist())
    assert losses[0] == losses[1]


def test_targets_are_looked_at_once_while_they_are_the_same(monkeypatch):
    net = nn.Linear(2, 3)
    guide, looked = MeanFieldGuide(net), []
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Categorical())
    monkeypatch.setattr(model.likelihood, "check_targets", looked.append)
    y = torch.tensor([0, 1, 2, 0])
    for _ in range(3):
        Trace_ELBO().loss(model, guide, X, y)
    assert len(looked) == 1
    y[0] = 3
    with pytest.raises(ValueError, match=r"^y: expected targets that the likelihood can have"):
        Trace_ELBO().loss(model, guide, X, y)
    assert len(looked) == 2


def test_the_bound_needs_targets():
    net = nn.Linear(2, 1)
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian())
    with pytest.raises(TypeError, match=r"^y: expected targets, beside the inputs"):
        SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), ImplicitELBO()).step(X)
