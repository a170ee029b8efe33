"""Settings of guides of many unknowns: noise at the start, heat, and priors that have no draws."""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import init_to_value

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.wide import start
from bayeshnet.inference import Annealing, fit
from tests.support.oracles import DTYPE

SIZE = 31
WIDTHS = torch.linspace(0.5, 3.0, SIZE, dtype=DTYPE)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def independent():
    with pyro.plate("all", SIZE):
        pyro.sample("x", dist.Normal(torch.ones(SIZE, dtype=DTYPE), WIDTHS))


@pytest.mark.parametrize(("sigma", "expected"), [(None, 1.0), (1.0, 1.0), (0.1, 0.1), (2.5, 2.5)])
def test_noise_begins_at_sigma_in_units_of_the_gaussian_that_was_found(sigma, expected):
    """The map adds 3 % of it by its linear and hidden part each, and the Gaussian is exact here."""
    torch.manual_seed(0)
    guide = AutoHypernet(independent, sigma=sigma)
    found = guide.sample_posterior(4000, generator=noise())["x"].std(0) / WIDTHS
    torch.testing.assert_close(found, torch.full_like(WIDTHS, expected), rtol=0.08, atol=0.0)


def test_without_a_gaussian_noise_begins_at_sigma_in_units_of_the_initial_scale(monkeypatch):
    monkeypatch.setattr(start, "_MOST", SIZE - 1)
    torch.manual_seed(0)
    guide = AutoHypernet(independent, sigma=0.5, init_scale=0.2)
    found = guide.sample_posterior(4000, generator=noise())["x"].std(0)
    torch.testing.assert_close(found, torch.full_like(WIDTHS, 0.1), rtol=0.08, atol=0.0)


def test_noise_of_few_unknowns_is_a_tenth_of_the_linear_part():
    def one():
        pyro.sample("x", dist.Normal(torch.zeros((), dtype=DTYPE), 1.0))

    fractions = []
    for options in ({}, {"sigma": 0.1}, {"sigma": 0.7}):
        guide = AutoHypernet(one, **options)
        guide()
        fractions.append(float(guide.posterior.sigma.module.fraction))
    assert fractions == pytest.approx([0.1, 0.1, 0.7])


@pytest.mark.parametrize(
    ("options", "beta", "told"),
    [
        ({}, Annealing(2, start=30.0), True),
        ({}, 2.0, True),
        ({}, 1.0, False),
        ({}, lambda step: 0.1, False),
        ({"latent_size": 3}, Annealing(2, start=30.0), False),
    ],
)
def test_heat_of_a_guide_at_one_mode_is_told_at_the_start(options, beta, told, caplog):
    guide = AutoHypernet(independent, **options)
    with caplog.at_level(logging.WARNING, logger="bayeshnet"):
        result = fit(independent, guide, num_steps=3, beta=beta)
    assert list(result.alarms) == (["heat"] if told else [])
    assert ("near modes only" in caplog.text) is told
    assert fit(independent, guide, num_steps=3, beta=beta, alarms=False).alarms == {}


def improper(count):
    """A common mean without a prior: its posterior is normal around the mean of the data, of twice their variance."""

    def model():
        mean = pyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
        with pyro.plate("groups", count):
            x = pyro.sample("x", dist.Normal(mean, torch.ones((), dtype=DTYPE)))
            pyro.sample("y", dist.Normal(x, 1.0), obs=torch.linspace(-1.0, 3.0, count, dtype=DTYPE))

    values = {"mean": torch.zeros((), dtype=DTYPE), "x": torch.zeros(count, dtype=DTYPE)}
    return model, init_to_value(values=values)


def test_improper_priors_need_only_a_start():
    model, begin = improper(40)
    torch.manual_seed(0)
    guide = AutoHypernet(model, init_loc_fn=begin)
    mean = guide.sample_posterior(4000, generator=noise())["mean"]
    assert float(mean.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(mean.std()) == pytest.approx((2 / 40) ** 0.5, rel=0.1)
    found = guide.check(model, num_samples=100, generator=noise())
    assert found.missed is None
    assert found.reliable


def test_components_take_improper_priors_from_their_start():
    model, begin = improper(2)
    guide = AutoHypernet(model, init_loc_fn=begin, components=2)
    guide()
    offsets = [float(list(part.hnet.params.values())[-1].detach()[0]) for part in guide.posterior.components]
    assert offsets == [0.0, 0.0]
