"""A search for missed modes: annealed particles beside known integrals and shares, guides at some of the modes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking import annealing
from bayeshnet.guides.checking.annealing import anneal, anneal_again
from bayeshnet.guides.checking.outside import missed_share
from bayeshnet.guides.checking.starts import clusters
from bayeshnet.inference import fit
from bayeshnet.inference.bound import weight_alarms
from tests.support.oracles import DTYPE

Y = torch.tensor([0.5, 1.5, 1.0, 2.0], dtype=DTYPE)
TWO, UNEQUAL = torch.tensor([[-3.0, 0.0], [3.0, 1.0]], dtype=DTYPE), torch.tensor([0.25, 0.75], dtype=DTYPE)
FOUR = torch.tensor([[-2.0, -3.0], [-2.0, 3.0], [2.0, -3.0], [2.0, 3.0]], dtype=DTYPE)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer particles for the places where components begin."""
    monkeypatch.setattr("bayeshnet.guides.flat_guide._PARTICLES", 400)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def modes(centers, shares, width=0.3):
    """A posterior that is a mixture of normals, of evidence one."""
    shares = torch.as_tensor(shares, dtype=DTYPE)

    def density(x):
        each = dist.Normal(centers, width).log_prob(x.unsqueeze(-2)).sum(-1)
        return (each + shares.log()).logsumexp(-1)

    def program():
        prior = dist.Normal(torch.zeros(2, dtype=DTYPE), 4.0).to_event(1)
        x = pyro.sample("x", prior)
        pyro.factor("likelihood", density(x) - prior.log_prob(x))

    return program, density


def at(program, centers, width=0.3):
    """A linear guide, or a mixture of such, exactly at some of the modes."""
    torch.manual_seed(0)
    guide = AutoHypernet(program, layers=(), components=len(centers), sigma=0.1)
    guide()
    parts = [guide.posterior] if len(centers) == 1 else guide.posterior.components
    with torch.no_grad():
        for part, center in zip(parts, centers, strict=True):
            head, offset = list(part.hnet.params.values())[:2]
            scale = 1.0 if part.scale is None else part.scale
            loc = 0.0 if part.scale is None else part.loc
            head.copy_(torch.diag(torch.full((2,), width / math.sqrt(1.01), dtype=DTYPE) / scale))
            offset.copy_((center - loc) / scale)
    return guide


@pytest.mark.parametrize(("centers", "shares"), [(TWO, UNEQUAL), (FOUR, [0.1, 0.2, 0.3, 0.4])])
def test_particles_find_all_modes_with_their_shares_and_the_integral(centers, shares):
    density = modes(centers, shares)[1]
    found = anneal(
        density, torch.zeros(2, dtype=DTYPE), torch.full((2,), 4.0, dtype=DTYPE), 2000, generator=noise(), keep=0.8
    )
    assert found.arrived
    assert found.log_evidence == pytest.approx(0.0, abs=0.1)
    torch.testing.assert_close(found.log_density, density(found.x))
    nearest = torch.cdist(found.x, centers).argmin(-1)
    counted = torch.bincount(nearest, minlength=len(centers)) / 2000
    torch.testing.assert_close(counted.to(DTYPE), torch.as_tensor(shares, dtype=DTYPE), atol=0.04, rtol=0)
    away = found.x - centers[nearest]
    assert float(away.std()) == pytest.approx(0.3, rel=0.05)


def test_particles_that_go_once_more_correct_the_shares():
    """They begin with equal shares, in Gaussians of clusters; the integral is that of the whole density."""
    shares = [0.1, 0.2, 0.3, 0.4]
    density = modes(FOUR, shares)[1]
    before = FOUR.repeat(250, 1) + 0.4 * torch.randn(1000, 2, generator=noise(), dtype=DTYPE)
    found = anneal_again(density, clusters(before, 4, noise()), 2000, generator=noise())
    assert found.arrived
    assert found.log_evidence == pytest.approx(0.0, abs=0.1)
    torch.testing.assert_close(found.log_density, density(found.x))
    nearest = torch.cdist(found.x, FOUR).argmin(-1)
    counted = torch.bincount(nearest, minlength=4) / 2000
    torch.testing.assert_close(counted, torch.tensor(shares), atol=0.03, rtol=0)
    assert float((found.x - FOUR[nearest]).std()) == pytest.approx(0.3, rel=0.05)


def test_gaussians_of_clusters_have_the_density_and_the_slope_of_their_mixture():
    before = FOUR.repeat(10, 1) + torch.randn(40, 2, generator=noise(), dtype=DTYPE)
    starts = clusters(before, 3, noise())
    law = MixtureSameFamily(
        Categorical(logits=torch.tensor([start.log_share for start in starts], dtype=DTYPE)),
        MultivariateNormal(
            torch.stack([s.loc for s in starts]), scale_tril=1.5 * torch.stack([s.root for s in starts])
        ),
    )
    flat = anneal_again(lambda x: 0.0 * x.sum(-1), starts, 5000, generator=noise(), budget=1)
    torch.testing.assert_close(flat.x.mean(0), law.mean, atol=0.15, rtol=0)
    torch.testing.assert_close(flat.x.var(0), law.variance, atol=0.0, rtol=0.1)
    same = anneal_again(law.log_prob, starts, 200, generator=noise())
    assert same.log_evidence == pytest.approx(0.0, abs=1e-6)
    where = before.clone().requires_grad_()
    (slope,) = torch.autograd.grad(law.log_prob(where).sum(), where)
    gaussians = annealing._Gaussians(
        torch.stack([s.loc for s in starts]),
        1.5 * torch.stack([s.root for s in starts]),
        torch.tensor([start.log_share for start in starts], dtype=DTYPE),
    )
    value, found = gaussians.density(before)
    torch.testing.assert_close(value, law.log_prob(before))
    torch.testing.assert_close(found, slope)


def test_weights_that_tell_nothing_leave_the_shares_as_they_are():
    program = modes(TWO, UNEQUAL)[0]
    shares = torch.tensor([0.4, 0.6], dtype=DTYPE)
    for width, expected in ((0.03, shares), (0.3, UNEQUAL)):
        guide = at(program, TWO, width)
        guide.posterior.log_weights.copy_(shares.log())
        guide.reweigh(program, generator=noise())
        torch.testing.assert_close(guide.posterior.log_weights.exp().to(DTYPE), expected, atol=0.02, rtol=0)


def test_a_small_budget_is_told():
    density = modes(FOUR, [0.25] * 4, 0.01)[1]
    found = anneal(density, torch.zeros(2, dtype=DTYPE), torch.ones(2, dtype=DTYPE), 50, budget=20, generator=noise())
    assert not found.arrived
    assert found.gradients <= 20


@pytest.mark.parametrize(("kept", "missing"), [([0], 0.75), ([1], 0.25)])
def test_a_missed_mode_is_told_where_weights_are_silent(kept, missing):
    program = modes(TWO, UNEQUAL)[0]
    guide = at(program, TWO[kept])
    found = guide.check(program, generator=noise())
    assert found.k_hat < 0.5
    assert found.missed == pytest.approx(missing, abs=0.12)
    assert found.misses_modes
    assert not found.reliable
    assert "lacks modes" in found.advice
    silent = guide.check(program, num_particles=0, generator=noise())
    assert silent.reliable
    assert silent.missed is None


@pytest.mark.parametrize(("kept", "missing"), [([0], 0.75), ([0, 3], 0.5), ([0, 1, 2, 3], 0.0)])
def test_of_four_modes_the_missed_ones_are_told(kept, missing):
    program = modes(FOUR, [0.25] * 4)[0]
    found = at(program, FOUR[kept]).check(program, num_samples=300, num_particles=300, generator=noise())
    assert found.missed == pytest.approx(missing, abs=0.12)
    assert found.reliable is (missing == 0.0)


def conjugate():
    mean = pyro.sample("mean", dist.Normal(torch.zeros(3, dtype=DTYPE), 1.0).to_event(1))
    with pyro.plate("data", len(Y)):
        pyro.sample("y", dist.Normal(mean.sum(-1), 1.0), obs=Y)


def test_exact_guides_are_not_accused():
    torch.manual_seed(0)
    guide = AutoHypernet(conjugate, layers=(), sigma=0.1)
    guide()
    precision = torch.eye(3, dtype=DTYPE) + len(Y)
    covariance = torch.linalg.inv(precision)
    with torch.no_grad():
        head, offset = list(guide.posterior.hnet.params.values())[:2]
        head.copy_(torch.linalg.cholesky(covariance))
        offset.copy_(covariance @ torch.full((3,), float(Y.sum()), dtype=DTYPE))
    for seed in range(2):
        found = guide.check(conjugate, num_particles=200, generator=noise(seed))
        assert found.missed == 0.0
        assert found.reliable


def test_a_model_that_is_not_written_for_plates_is_not_searched():
    def program():
        x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=DTYPE), 1.0))
        assert x.ndim == 0
        pyro.sample("y", dist.Normal(x, 1.0), obs=Y[0])

    guide = AutoHypernet(program, layers=())
    assert guide.check(program, num_samples=100).missed is None


def test_a_share_counts_what_is_far_above_the_own_ratios():
    own, again = torch.tensor([0.0, 1.0, -3.0]), torch.tensor([0.0, 4.0, 0.0, 0.0])
    places = torch.tensor([0.0, 2.9, 3.1, 100.0, math.inf, 0.0, 0.0, 0.0])
    assert missed_share(places, again, own) == pytest.approx(3 / 8 - 1 / 4)
    assert missed_share(places[:2], again, own) == 0.0


def test_clusters_have_the_moments_and_shares_of_their_places():
    generator = noise()
    law = MultivariateNormal(torch.zeros(2, dtype=DTYPE), torch.tensor([[0.1, 0.08], [0.08, 0.1]], dtype=DTYPE))
    away = torch.randn(4000, 2, generator=generator, dtype=DTYPE) @ law.scale_tril.T
    x = torch.cat([20 * TWO[0] + away[:1000], 20 * TWO[1] + away[1000:]])
    found = sorted(clusters(x, 2, generator), key=lambda start: float(start.loc[0]))
    for start, own, share in zip(found, (x[:1000], x[1000:]), (0.25, 0.75), strict=True):
        torch.testing.assert_close(start.loc, own.mean(0))
        torch.testing.assert_close(start.root @ start.root.T, torch.cov(own.T), atol=1e-3, rtol=0.02)
        assert math.exp(start.log_share) == pytest.approx(share)
    least = [math.exp(start.log_share) for start in clusters(x, 8, generator)]
    assert sum(least) == pytest.approx(1.0)
    assert min(least) > 0.2 / 8


def test_components_begin_in_the_modes():
    program = modes(FOUR, [0.1, 0.2, 0.3, 0.4])[0]
    torch.manual_seed(0)
    guide = AutoHypernet(program, components=4, layers=(8,))
    guide()
    draws = guide.sample_posterior(2000, generator=noise())["x"]
    counted = torch.bincount(torch.cdist(draws, FOUR).argmin(-1), minlength=4) / 2000
    torch.testing.assert_close(counted, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.06, rtol=0)
    assert guide.check(program, num_samples=200, num_particles=100, generator=noise()).reliable


@pytest.mark.slow
def test_a_long_fit_warns_of_a_missed_mode():
    program = modes(TWO, UNEQUAL)[0]
    guide = at(program, TWO[:1])
    history = {"beta": torch.ones(600)}
    found = weight_alarms(program, guide, (), history)
    assert list(found) == ["modes"]
    assert "lacks modes" in found["modes"]
    assert weight_alarms(program, guide, (), {"beta": torch.ones(200)}) == {}
    result = fit(program, guide, num_steps=500, lr=1e-6, num_particles=2)
    assert list(result.alarms) == ["modes"]


def test_hostile_numbers_of_particles_are_refused():
    program = modes(TWO, UNEQUAL)[0]
    guide = at(program, TWO[:1])
    with pytest.raises(ValueError, match="num_particles: expected 0, or at least 50, got 3"):
        guide.check(program, num_particles=3)
