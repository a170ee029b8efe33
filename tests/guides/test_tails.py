"""Learned tails: densities by autograd, inverses, quantiles in closed form, and guides that have them."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking.tails import Tails, unit_scale
from bayeshnet.inference import ImplicitELBO
from tests.support.oracles import DTYPE

ONE = torch.ones((), dtype=DTYPE)
Y = torch.tensor([1.0, 3.0, 2.0], dtype=DTYPE)


def schools():
    mu = pyro.sample("mu", dist.Normal(0 * ONE, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(2 * ONE))
    with pyro.plate("schools", 3):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, 2 * ONE), obs=Y)


def tails(power, skew):
    found = Tails(torch.tensor([0.5, -1.0], dtype=DTYPE), power)
    with torch.no_grad():
        found.skew.fill_(skew)
        found.log_scale.copy_(torch.tensor([0.3, -0.4], dtype=DTYPE))
    return found


@pytest.mark.parametrize(("power", "skew"), [(1.0, 0.0), (1.7, 0.4), (0.6, -0.8), (2.0, 0.0)])
def test_the_change_is_undone_and_has_the_density_of_autograd(power, skew):
    found = tails(power, skew)
    u = torch.linspace(-6, 6, 11, dtype=DTYPE)[:, None].repeat(1, 2).requires_grad_()
    x, log_density = found.place(u)
    torch.testing.assert_close(found.undo(x), u)
    (slope,) = torch.autograd.grad(x.sum(), u)
    assert bool((slope > 0).all())
    torch.testing.assert_close(log_density, -slope.log())
    center, _ = found.place(found.loc)
    torch.testing.assert_close(center, found.loc)
    if power == 1.0:
        torch.testing.assert_close(x, u)


def test_far_out_values_grow_by_the_power():
    found = Tails(torch.zeros(1, dtype=DTYPE), 2.0)
    far = torch.tensor([[1e4], [2e4]], dtype=DTYPE)
    x = found.place(far)[0]
    assert float((x[1] / x[0]).detach()) == pytest.approx(4.0, rel=1e-6)
    torch.testing.assert_close(found.undo(x), far)


def made(**options):
    torch.manual_seed(0)
    guide = AutoHypernet(schools, layers=(), tails=1.5, **options)
    guide()
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return guide


def test_the_density_of_a_guide_with_tails_integrates_the_changes_of_its_parts():
    """A linear guide is a Gaussian, whose density at the way back is changed by tails, centring and supports."""
    guide = made()
    draws = guide.draws_with_density(50, (), {}, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.lower, draws.upper)
    sites = guide._sites((), {})
    x = sites.flat(draws.values)
    u, way = sites.rows(x, undo=True)
    torch.testing.assert_close(guide.distribution().log_prob(u) + way, draws.lower)
    again, forth = sites.rows(u)
    torch.testing.assert_close(again, x)
    torch.testing.assert_close(forth, way)
    u = u[:1].clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda v: sites.rows(v)[0][0], u)[:, 0]
    unconstrained = -torch.linalg.slogdet(jacobian)[1]
    log_tau = x[0, 1]  # the only site that is not real
    torch.testing.assert_close(forth[0], unconstrained - log_tau)


def test_the_bound_is_that_of_its_trace_and_trains_the_tails():
    guide = made(num_samples=None)
    elbo = ImplicitELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    elbo.differentiable_loss(schools, guide).backward()
    for name in ("loc", "log_scale", "log_power", "skew"):
        assert bool((guide.tails.get_parameter(name).grad != 0).all())
    trace = pyro.poutine.trace(guide).get_trace()
    trace.compute_log_prob()
    latent = trace.nodes[f"_{guide._pyro_name}_latent"]["value"]
    expected = guide._sites((), {}).rows(latent[None])[1][0]
    found = sum(trace.nodes[name]["log_prob_sum"] for name in ("mu", "tau", "theta"))
    torch.testing.assert_close(found, expected)


def test_tails_are_saved_with_the_guide_and_kept_by_its_prior():
    guide = made()
    fresh = AutoHypernet(schools, layers=(), tails=3.0)
    fresh.load_state_dict(guide.state_dict())
    torch.testing.assert_close(fresh.tails.log_power, guide.tails.log_power)
    values = {name: value[0] for name, value in guide.sample_posterior(1).items()}
    prior = guide.as_prior()
    before = prior.log_density(values)
    with torch.no_grad():
        guide.tails.skew.add_(1.0)
    torch.testing.assert_close(prior.log_density(values), before)


def test_the_spread_at_first_is_the_initial_scale_and_its_tails_are_heavy():
    torch.manual_seed(0)
    guide = AutoHypernet(schools, layers=(), tails=2.0, init_scale=3.0, centring=None)
    draws = guide.sample_posterior(20_000, generator=torch.Generator().manual_seed(0))["mu"]
    away = (draws - draws.median()).abs() / 3.0
    # The quantile of 0.99 of the modulus: y sqrt(1 + y^2) of the normal's, by sinh(2 asinh y) / 2.
    y = 3.0 * 2.5758 * math.sqrt(1.01)
    assert float(away.quantile(0.99)) * 3.0 == pytest.approx(y * math.sqrt(1 + y**2), rel=0.08)


def test_a_power_that_is_no_positive_number_is_refused():
    with pytest.raises(ValueError, match="tails: expected a number > 0"):
        AutoHypernet(schools, tails=0.0)


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0])
def test_draws_of_the_unit_scale_have_deviation_one(power):
    u = unit_scale(power) * torch.randn(400_000, 1, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x, _ = Tails(torch.zeros(1, dtype=DTYPE), power).place(u)
    assert float(x.std()) == pytest.approx(1.0, abs=0.01)


def test_a_guide_of_many_unknowns_begins_at_its_gaussian_whatever_its_tails():
    def model():
        with pyro.plate("all", 40):
            pyro.sample("x", dist.Normal(3 * ONE, 0.2 * ONE))

    torch.manual_seed(0)
    guide = AutoHypernet(model, tails=1.5)
    guide()
    draws = guide.sample_posterior(4000, generator=torch.Generator().manual_seed(0))["x"]
    assert float((draws.std(0) / 0.2).mean()) == pytest.approx(1.0, abs=0.03)
    assert float(((draws.mean(0) - 3) / 0.2).abs().max()) < 0.15
