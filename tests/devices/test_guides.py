"""Guides and likelihoods on a device: training waits for no step and gives the numbers of the CPU; predictions stay."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

from bayeshnet.builders import ImplicitGenerator
from bayeshnet.distributions import FanInGaussian
from bayeshnet.estimators import LIVI, diagnose
from bayeshnet.guides import (
    AutoHypernet,
    BayesianModel,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    HypernetGuide,
    LowRankGuide,
    MeanFieldGuide,
    Poisson,
    RadialGuide,
)
from bayeshnet.inference import Predictive, fit
from bayeshnet.mnets import MLP
from bayeshnet.weights import WeightSpec
from tests.support.places import PLACES, unexpected
from tests.support.pretended_device import PretendedDevice
from tests.support.waits import Waits


def implicit(net):
    builder = ImplicitGenerator(latent_size=2, embedding_size=2, hidden_layers=(4,))
    return HypernetGuide(builder.build(WeightSpec.of(net)), LIVI(4)).condition(0)


def in_blocks(sigma):
    """Return a maker of guides whose weights are drawn block by block, from chunks."""

    def make(net):
        builder = ImplicitGenerator(
            latent_size=2, embedding_size=2, hidden_layers=(4,), sigma=sigma, chunk_size=5, block_size=8
        )
        return HypernetGuide(builder.build(WeightSpec.of(net)), LIVI(4)).condition(0)

    return make


GUIDES = {
    "implicit": implicit,
    "in blocks": in_blocks(0.1),
    "in blocks, learned": in_blocks("learned"),
    "mean field": MeanFieldGuide,
    "low rank": lambda net: LowRankGuide(net, 2),
    "radial": RadialGuide,
}
LIKELIHOODS = {
    "Gaussian": (lambda: Gaussian(0.3), 2, lambda x: x),
    "Gaussian, learned": (lambda: Gaussian(0.3, learn=True), 2, lambda x: x),
    "HeteroscedasticGaussian": (HeteroscedasticGaussian, 2, lambda x: x[:, :1]),
    "Categorical": (Categorical, 3, lambda x: (x[:, 0] > 0).long()),
    "Bernoulli": (Bernoulli, 1, lambda x: (x[:, :1] > 0).double()),
    "Poisson": (Poisson, 1, lambda x: (x[:, :1] > 0).double()),
}
CASES = [(guide, "Gaussian") for guide in GUIDES] + [("mean field", name) for name in LIKELIHOODS if name != "Gaussian"]


def trained(device, guide_name, likelihood_name, callbacks=(), **options):
    """A model and its guide after four steps on the device, and the result."""
    torch.manual_seed(0)
    make, width, targets = LIKELIHOODS[likelihood_name]
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, width)).double()
    guide = GUIDES[guide_name](net).double().to(device)
    x = torch.randn(12, 2, dtype=torch.float64)
    y = targets(x).to(device)
    prior = FanInGaussian(WeightSpec.of(net), dtype=torch.float64, device=device)
    model = BayesianModel(net, prior, make()).to(device)
    generator = torch.Generator(device=device).manual_seed(1)
    options = {"num_steps": 4, "batch_size": 6, "num_particles": 2, **options}
    result = fit(model, guide, (x.to(device), y), generator=generator, callbacks=callbacks, **options)
    return model, guide, result


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("guide", "likelihood"), CASES)
def test_guides_and_likelihoods(place, guide, likelihood):
    with place() as there:
        watch = Waits(there)
        model, found, result = trained(there.device, guide, likelihood, [watch])
        assert unexpected(watch.of_a_step) == {}
        x = torch.randn(5, 2, dtype=torch.float64).to(there.device)
        prediction = Predictive(found, model.net, model.likelihood, 3)(x, generator=torch.Generator(there.device))
        assert prediction.mean.device.type == there.device.type
        assert {p.device.type for p in found.parameters()} == {there.device.type}
        loss = result.history["loss"]
        assert loss.device.type == "cpu"
        state = {name: value.cpu() for name, value in found.state_dict().items()}
    if place is PretendedDevice:
        _, expected, wanted = trained("cpu", guide, likelihood)
        torch.testing.assert_close(loss, wanted.history["loss"], rtol=1e-6, atol=1e-8)
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("noise", [0.3, torch.tensor([0.3, 0.5])], ids=["one", "each"])
def test_a_gaussian_likelihood_takes_outputs_of_a_device(place, noise):
    likelihood = Gaussian(noise)
    outputs, y = torch.randn(3, 5, 2), torch.randn(5, 2)

    def found(outputs, y):
        values = likelihood.log_prob(outputs, y), likelihood.log_prob_sum(outputs, y), likelihood.noise(outputs)
        return *values, likelihood.distribution(outputs).log_prob(y)

    expected = found(outputs, y)
    with place() as there:
        values = found(outputs.to(there.device), y.to(there.device))
        assert {value.device.type for value in values} == {there.device.type}
        values = [value.cpu() for value in values]
    torch.testing.assert_close(values, list(expected))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("options", "exceptions"),
    [
        ({"grad_clip": 0.1, "scheduler": "cosine"}, ()),
        ({"optimizer": torch.optim.SGD, "beta": 0.5}, ()),
        ({"local_noise": True}, ()),
        (
            {"elbo": Trace_ELBO(num_particles=2), "num_particles": 1},
            ("inference/objective.py:_other", "inference/optimizers.py:step"),
        ),
    ],
    ids=["clipped", "SGD", "local noise", "Trace_ELBO"],
)
def test_options_of_the_loop_wait_for_no_step(place, options, exceptions):
    with place() as there:
        watch = Waits(there)
        trained(there.device, "mean field", "Gaussian", [watch], **options)
        assert unexpected(watch.of_a_step, exceptions) == {}


@pytest.mark.parametrize("place", PLACES)
def test_other_pyro_models(place):
    """A guide of any Pyro model waits for no step, though Pyro looks at what distributions are given in the first."""
    with place() as there:
        zero, one = torch.zeros((), device=there.device), torch.ones((), device=there.device)
        x = torch.randn(10, 2).to(there.device)

        def model(x, y=None):
            scale = pyro.sample("scale", dist.LogNormal(zero, one))
            slope = pyro.sample("slope", dist.Normal(zero.expand(2), one).to_event(1))
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Normal((slope.unsqueeze(-2) * x).sum(-1), scale), obs=y)

        guide, watch = AutoHypernet(model, layers=(4,), num_samples=4), Waits(there)
        y = x.sum(-1)
        guide(x, y)
        fit(model, guide, (x, y), num_steps=4, num_particles=2, callbacks=[watch])
        assert sum(watch.counts[0].values()) > 0
        assert unexpected(watch.of_a_step) == {}
        assert {value.device.type for value in guide.sample_posterior(3, x, y).values()} == {there.device.type}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_loss_that_is_no_number_is_seen_at_the_next_look(place):
    with place() as there:
        watch = Waits(there)
        with pytest.raises(ValueError, match="lr or grad_clip: expected those of a finite loss, got nan at step 99"):
            trained(there.device, "mean field", "Gaussian", [watch], num_steps=150, lr=1e300, batch_size=None)
        assert len(watch.counts) == 99


@pytest.mark.parametrize("place", PLACES)
def test_a_loss_that_is_no_number_is_seen_at_the_end(place):
    with place() as there, pytest.raises(ValueError, match="at step 3"):
        trained(there.device, "mean field", "Gaussian", lr=1e300)


@pytest.mark.parametrize("place", PLACES)
def test_other_main_networks_and_an_audit(place):
    """A batched perceptron of the library, and a quick audit of its posterior, which mix nothing."""
    with place() as there:
        net = MLP(2, 1, [4]).to(there.device)
        guide = LowRankGuide(net, 2).to(there.device)
        model = BayesianModel(net, FanInGaussian(net.weight_spec, device=there.device), Gaussian(0.3))
        x = torch.randn(8, 2).to(there.device)
        fit(model, guide, (x, x[:, :1]), num_steps=2)
        outputs = model.outputs(guide.posterior().draw(3).w, x)
        assert outputs.device.type == there.device.type
        generator = torch.Generator(there.device).manual_seed(0)
        report = diagnose(guide.posterior, model.prior, 16, generator, quick=True)
        assert report.value > 0
