"""Alarms after training: none where the posterior is better than the prior, and one for each way to be no better."""

import logging

import pytest
import torch
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, ScaleMixturePrior
from bayeshnet.guides import BayesianModel, Categorical, Gaussian, HypernetGuide, MeanFieldGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import fit
from bayeshnet.mnets import MLP


def line(size=60):
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(size, 2, generator=noise)
    return x, x @ torch.tensor([[1.0], [-2.0]]) + 0.1 * torch.randn(size, 1, generator=noise)


def fitted(data, likelihood=None, num_steps=400, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(2, 2 if isinstance(likelihood, Categorical) else 1)
        guide = MeanFieldGuide(net, scale="fan_in")
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), likelihood or Gaussian(0.3))
    options = {"lr": 3e-2, "num_particles": 4, "generator": torch.Generator().manual_seed(0), **changes}
    return fit(model, guide, data, num_steps=num_steps, **options)


def test_a_trained_posterior_raises_no_alarm(caplog):
    assert fitted(line()).alarms == {}
    assert caplog.messages == []


def test_a_posterior_that_has_not_moved_is_worse_than_the_prior(caplog):
    with caplog.at_level(logging.WARNING, logger="bayeshnet.inference.fit"):
        result = fitted(line(), Gaussian(10.0), lr=1e-9)
    # The noise is so wide that the data say nothing, and the narrow initial posterior has a KL to pay.
    assert "the negative ELBO" in result.alarms["elbo"]
    assert [message.split(":")[0] for message in caplog.messages] == list(result.alarms)


def test_noise_as_targets_is_at_chance():
    x, _ = line(200)
    y = torch.randint(2, (200,), generator=torch.Generator().manual_seed(1))
    assert "chance" in fitted((x, y), Categorical()).alarms
    assert "chance" not in fitted((x, (x[:, 0] > 0).long()), Categorical()).alarms


def test_a_posterior_at_the_prior_and_without_its_latent_is_named():
    x, y = line()
    net = MLP(2, 1, hidden_layers=(), no_weights=True, verbose=False)
    hnet = HMLP(net.hyper_shapes_learned, uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False)
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.zero_()
    guide = HypernetGuide(HypernetPosterior(hnet, sigma=1.0, scale="fan_in", weight_spec=net.weight_spec))
    model = BayesianModel(net, FanInGaussian(net.weight_spec), Gaussian(100.0))
    found = fit(model, guide, (x, y), num_steps=100, lr=1e-12, num_particles=2).alarms
    assert {"prior", "collapse"} <= found.keys()


def test_a_narrow_prior_of_two_scales_that_leaves_a_posterior_at_chance_is_named(caplog):
    """Classes are those of a product of inputs, which hidden units tell; the prior holds all weights near 0."""
    x, _ = line(100)
    net = MLP(2, 2, hidden_layers=(16,), no_weights=True, verbose=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hnet = HMLP(
            net.hyper_shapes_learned, uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[16], verbose=False
        )
    guide = HypernetGuide(HypernetPosterior(hnet, sigma=0.1, weight_spec=net.weight_spec))
    model = BayesianModel(net, ScaleMixturePrior(net.weight_spec, 0.25, 1.0, 0.1), Categorical())
    options = {"lr": 1e-2, "num_particles": 4, "generator": torch.Generator().manual_seed(0)}
    with caplog.at_level(logging.WARNING, logger="bayeshnet.inference.fit"):
        result = fit(model, guide, (x, (x.prod(1) > 0).long()), num_steps=150, **options)
    assert "chance" in result.alarms
    assert [message.split(":")[0] for message in caplog.messages].count("chance") == 1


def test_short_runs_and_runs_without_alarms_say_nothing():
    assert fitted(line(), Gaussian(10.0), num_steps=99, lr=1e-9).alarms == {}
    assert fitted(line(), Gaussian(10.0), lr=1e-9, alarms=False).alarms == {}
    with pytest.raises(TypeError, match="alarms: expected True or False"):
        fitted(line(), alarms="no")


def test_the_check_changes_neither_random_numbers_nor_modes():
    states, modes = [], []
    for alarms in (True, False):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.0), nn.Linear(4, 1))
        guide = MeanFieldGuide(net, scale="fan_in")
        model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.3))
        fit(model, guide, line(), num_steps=100, alarms=alarms)
        states.append(torch.random.get_rng_state())
        modes.append([module.training for module in model.modules()])
    assert torch.equal(*states)
    assert modes[0] == modes[1]
