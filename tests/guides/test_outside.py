"""Parts that a guide lacks: modes apart, or places around it; and particles that have not come to the posterior."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking import outside
from bayeshnet.guides.checking.outside import Outside, carried_on
from tests.support.oracles import DTYPE

NUM = 200
TIMES = torch.cat([torch.arange(10), torch.arange(20, 30)])


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(x):
    return -0.5 * x.square().sum(-1)


def draws(scale, size=2):
    return scale * torch.randn(NUM, size, dtype=DTYPE, generator=noise(1))


def beyond(x):
    """Return the share of places with an entry beyond two standard deviations."""
    return float((x.abs().amax(-1) > 2).double().mean())


def test_what_a_narrow_guide_lacks_is_the_share_of_the_posterior_and_no_mode():
    """Particles that are too wide and draws that are too narrow come to the same share, known in closed form."""
    found = carried_on(normal, draws(5.0), draws(0.3), beyond, noise())
    within = math.erf(2 / math.sqrt(2)) ** 2
    assert found.share == pytest.approx(1 - within, abs=0.06)
    assert not found.apart


def test_particles_that_have_not_arrived_are_no_mode():
    found = carried_on(normal, 9.0 + draws(0.5), draws(1.0), lambda x: float((x > 5).double().mean()), noise())
    assert found == Outside(0.0)


def test_a_mode_keeps_its_particles_and_draws_do_not_come_there():
    def two(x):
        left, right = normal((x - 3.0) / 0.3), normal((x + 3.0) / 0.3)
        return torch.logaddexp(left, right)

    left = torch.where(torch.arange(NUM)[:, None] < 150, 3.0, -3.0).to(DTYPE)
    found = carried_on(
        two, left + draws(0.3), -3.0 + draws(0.3), lambda x: float((x[:, 0] > 0).double().mean()), noise()
    )
    assert found == Outside(0.75, apart=True)


def test_particles_that_are_still_on_their_way_tell_nothing(monkeypatch):
    monkeypatch.setattr(outside, "_BLOCKS", (2, 2))
    far = torch.linspace(20.0, 60.0, NUM, dtype=DTYPE)[:, None]
    assert carried_on(normal, far, draws(1.0, 1), lambda x: float((x > 30).double().mean()), noise()) is None


def seen():
    """Return a random walk with noise, without the middle of its times."""
    steps, errors = torch.randn(2, 30, dtype=DTYPE, generator=noise(3))
    return (0.1 * steps.cumsum(0) + 0.15 * errors)[TIMES]


SEEN = seen()


def walk():
    """A random walk of unknown scales, seen with noise."""
    step = pyro.sample("step", dist.LogNormal(torch.zeros((), dtype=DTYPE), 2.0))
    width = pyro.sample("width", dist.LogNormal(torch.zeros((), dtype=DTYPE), 2.0))
    with pyro.plate("times", 30):
        places = pyro.sample("x", dist.Normal(0.0, step)).cumsum(-1)
    with pyro.plate("seen", len(SEEN)):
        pyro.sample("y", dist.Normal(places[..., TIMES], width), obs=SEEN)


def log_scales():
    """Return means and standard deviations of the logarithms of both scales, with the walk integrated out."""
    grid = torch.linspace(-7.0, 2.0, 91, dtype=DTYPE)
    a, b = (part.flatten() for part in torch.meshgrid(grid, grid, indexing="ij"))
    times = 1.0 + TIMES.to(DTYPE)
    together = torch.minimum(times[:, None], times)
    covariance = (2 * a).exp()[:, None, None] * together + (2 * b).exp()[:, None, None] * torch.eye(len(SEEN)).to(a)
    density = dist.MultivariateNormal(torch.zeros_like(SEEN), covariance).log_prob(SEEN) - (a**2 + b**2) / 8
    weight = density.softmax(0)
    both = torch.stack([a, b], -1)
    mean = weight @ both
    return mean, (weight @ (both - mean) ** 2).sqrt()


@pytest.mark.slow
def test_a_guide_of_a_walk_is_not_said_to_miss_all_of_it():
    """Its log-scales are those of a grid to half a standard deviation: most of the posterior is within it."""
    torch.manual_seed(0)
    guide = AutoHypernet(walk)
    values = guide.sample_posterior(2000, generator=noise())
    mean, deviation = log_scales()
    for name, where, width in zip(("step", "width"), mean, deviation, strict=True):
        found = values[name].log()
        assert abs(float(found.mean() - where)) < 0.5 * float(width)
    check = guide.check(walk, num_samples=200, generator=noise())
    assert check.missed < 0.3
    assert not check.apart
    assert not check.misses_modes
    assert "lacks modes" not in check.advice
