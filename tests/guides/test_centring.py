"""Learned centring: the change of variables against closed forms, which sites it concerns, and what guides return."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import init_to_value
from torch.distributions import biject_to

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.centring import LocScale, dependent_sites
from bayeshnet.inference import ImplicitELBO
from tests.support.oracles import DTYPE

ONE = torch.ones((), dtype=DTYPE)


def hierarchy(y=None):
    """All kinds of sites: fixed, with location and scale, with a scale alone, in a plate, and with events."""
    mu = pyro.sample("mu", dist.Normal(0 * ONE, 1.0))
    tau = pyro.sample("tau", dist.HalfCauchy(ONE))
    rate = pyro.sample("rate", dist.Gamma(2 * ONE, 1.0))
    width = pyro.sample("width", dist.HalfNormal(tau))
    wait = pyro.sample("wait", dist.Exponential(rate))
    size = pyro.sample("size", dist.LogNormal(mu, tau))
    with pyro.plate("groups", 3):
        pyro.sample("theta", dist.Normal(mu[..., None] if mu.ndim > 1 else mu, tau))
    pyro.sample("slopes", dist.StudentT(4.0, torch.zeros(2, dtype=DTYPE), width[..., None]).to_event(1))
    pyro.sample("y", dist.Normal(size + wait, ONE), obs=ONE if y is None else y)


def schools(y=ONE):
    mu = pyro.sample("mu", dist.Normal(0 * ONE, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5 * ONE))
    with pyro.plate("schools", 3):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, 2 * ONE), obs=torch.tensor([1.0, -2.0, 3.0], dtype=DTYPE))


def made(program, **options):
    torch.manual_seed(1)
    guide = AutoHypernet(program, **{"layers": (5,), "init_scale": 0.5, **options})
    guide()
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return guide


def test_sites_that_depend_on_unknowns_are_found():
    assert dependent_sites(hierarchy, (), {}) == ["width", "wait", "size", "theta", "slopes"]
    assert dependent_sites(schools, (), {}) == ["theta"]
    learned = torch.nn.Parameter(torch.zeros(()))
    assert dependent_sites(lambda: pyro.sample("x", dist.Normal(learned, 1.0)), (), {}) == []
    many = lambda: pyro.sample("w", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))  # noqa: E731
    assert dependent_sites(many, (), {}) == []


@pytest.mark.parametrize("degree", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [None, 0.2])
def test_the_change_of_variables_is_undone_and_has_the_density_of_autograd(degree, scale):
    site = LocScale(1.5 * ONE, None if scale is None else scale * ONE)
    u, c = torch.tensor(0.7, dtype=DTYPE, requires_grad=True), degree * ONE
    x, log_density = site.place(u, c)
    torch.testing.assert_close(site.undo(x, c), u)
    (slope,) = torch.autograd.grad(x, u)
    torch.testing.assert_close(log_density, -slope.log())
    if degree == 1.0:
        torch.testing.assert_close(x, u)
    if degree == 0.0:
        torch.testing.assert_close(x, 1.5 + (scale or 1.0) * u)


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_the_prior_of_the_new_unknown_is_the_partly_centred_one(scale):
    """If x is N(m, s^2), then u is N(c m, s^2c)."""
    site, c = LocScale(1.5 * ONE, scale * ONE), 0.4 * ONE
    u = torch.linspace(-2, 3, 7, dtype=DTYPE)
    x, log_density = site.place(u, c)
    found = dist.Normal(1.5, scale * ONE).log_prob(x) - log_density
    torch.testing.assert_close(found, dist.Normal(0.6, (scale * ONE) ** 0.4).log_prob(u))


def by_hand(guide, program, latent):
    """Values and log-density of the way for one latent vector, sites in order."""
    degrees = iter((5 * guide.degrees.logits).sigmoid())
    at, log_density = 0, 0.0
    values = {}
    for name in ("mu", "tau", "theta"):
        size = 3 if name == "theta" else 1
        u = latent[at : at + size]
        at += size
        if name == "theta":
            c = torch.stack([next(degrees) for _ in range(3)])
            log_scale = (1 - c) * values["tau"].log()
            values[name] = values["mu"] + log_scale.exp() * (u - c * values["mu"])
            log_density = log_density - log_scale.sum()
        elif name == "tau":
            values[name], log_density = u[0].exp(), log_density - u[0]
        else:
            values[name] = u[0]
    return values, log_density


@pytest.mark.parametrize("loss", [Trace_ELBO, ImplicitELBO])
def test_the_bound_is_the_one_written_by_hand(loss):
    guide = made(schools, num_samples=None)
    torch.manual_seed(3)
    trace = poutine.trace(guide).get_trace()
    trace.compute_log_prob()
    latent = trace.nodes[f"_{guide._pyro_name}_latent"]["value"]
    values, log_density = by_hand(guide, schools, latent)
    for name, value in values.items():
        torch.testing.assert_close(trace.nodes[name]["value"], value)
    found = sum(trace.nodes[name]["log_prob_sum"] for name in values)
    torch.testing.assert_close(found, log_density)
    elbo = loss(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    value = elbo.differentiable_loss(schools, guide)
    value.backward()
    assert bool((guide.degrees.logits.grad != 0).all())


def test_particles_in_a_plate_are_placed_as_one_by_one():
    guide = made(schools)
    latents = torch.randn(4, 5, dtype=DTYPE)
    sites = guide._sites((), {})
    x, density = sites.rows(latents)
    for i in range(4):
        values, expected = by_hand(guide, schools, latents[i])
        torch.testing.assert_close(density[i], expected)
        torch.testing.assert_close(x[i], torch.cat([values["mu"][None], values["tau"].log()[None], values["theta"]]))
    with pyro.plate("particles", 6, dim=-2):
        assert guide()["theta"].shape == (6, 3)


@pytest.mark.parametrize("program", [hierarchy, schools])
def test_the_round_trip_is_exact_also_where_plates_are_not_expected(program):
    guide = made(program)
    sites = guide._sites((), {})
    u = torch.randn(5, guide.latent_dim, dtype=DTYPE)
    x, density = sites.rows(u)
    back, again = sites.rows(x, undo=True)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(again, density)
    jacobian = torch.autograd.functional.jacobian(lambda v: sites.rows(v[None])[0][0], u[0])
    logs = 0.0
    for name, site in guide.prototype_trace.iter_stochastic_nodes():
        transform = biject_to(site["fn"].support)
        part = sites.place(u[0]).unconstrained[name]
        logs = logs + transform.log_abs_det_jacobian(part, transform(part)).sum()
    torch.testing.assert_close(density[0], -torch.linalg.slogdet(jacobian)[1] - logs)


def test_draws_and_quantiles_are_those_of_the_models_own_unknowns():
    guide = made(schools)
    draws = guide.sample_posterior(4000, generator=torch.Generator().manual_seed(0))
    assert draws["theta"].shape == (4000, 3)
    torch.manual_seed(0)
    found = guide.quantiles([0.25, 0.5], num_samples=4000)
    for name, value in draws.items():
        expected = value.quantile(0.25, dim=0)
        torch.testing.assert_close(found[name][0], expected, atol=0.1 * float(value.std()), rtol=0.1)


def test_degrees_are_saved_with_the_guide_and_of_another_model_refused():
    guide = made(schools)
    fresh = AutoHypernet(schools, layers=(5,))
    fresh.load_state_dict(guide.state_dict())
    fresh()  # runs the model once, for its shapes
    torch.manual_seed(0)
    first = guide()
    torch.manual_seed(0)
    torch.testing.assert_close(fresh(), first)

    def flat():
        pyro.sample("x", dist.Normal(torch.zeros(5, dtype=DTYPE), 1.0).to_event(1))

    other = AutoHypernet(flat, layers=(5,))
    other.load_state_dict(guide.state_dict())
    with pytest.raises(ValueError, match="model: expected a model of 3 such unknowns"):
        other()
    with pytest.raises(ValueError, match="centring: expected"):
        AutoHypernet(schools, centring="never")
    assert made(flat, centring="learn").state_dict().keys() == made(flat, centring=None).state_dict().keys()


def test_where_nothing_depends_the_guide_is_the_one_without_centring():
    """Finding out draws from the model, and leaves the random numbers alone."""

    def model():
        pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.LogNormal(1.0, 0.5))

    drawn = []
    for centring in (None, "learn"):
        torch.manual_seed(3)
        guide = AutoHypernet(model, layers=(8,), centring=centring)
        guide()
        drawn.append([*guide().values(), *guide.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))


@pytest.mark.parametrize("options", [{}, {"tails": 1.5}, {"centring": None}], ids=["centred", "tails", "plain"])
def test_a_guide_begins_at_the_values_that_it_is_given(options):
    """They are values of the model's unknowns, whatever the coordinates of the hypernetwork."""
    values = {"mu": -2 * ONE, "tau": 30 * ONE, "theta": torch.tensor([40.0, -10.0, 5.0], dtype=DTYPE)}
    torch.manual_seed(0)
    guide = AutoHypernet(schools, init_loc_fn=init_to_value(values=values), init_scale=1e-4, layers=(4,), **options)
    guide()
    draws = guide.sample_posterior(200)
    for name, value in values.items():
        torch.testing.assert_close(draws[name].median(0).values, value, atol=0.0, rtol=0.01)
