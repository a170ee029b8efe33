"""Guides of many unknowns: where they begin, their coordinates, their bound, and the guide that has them."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import HypernetPosterior, SemiImplicit
from bayeshnet.distributions.flat import Flat
from bayeshnet.estimators import LIVI
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking import search
from bayeshnet.guides.wide import start
from bayeshnet.guides.wide.entropy import LinearReverse
from bayeshnet.guides.wide.frame import Frame
from bayeshnet.guides.wide.newton import variational_newton
from bayeshnet.guides.wide.posterior import MANY, WidePosterior
from bayeshnet.guides.wide.start import find_frame
from bayeshnet.inference import fit
from tests.support.oracles import DTYPE

SIZE = 32
ONE = torch.ones((), dtype=DTYPE)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(size, seed=0):
    factor = torch.randn(size, size, dtype=DTYPE, generator=noise(seed))
    precision = factor @ factor.T / size + 0.2 * torch.eye(size, dtype=DTYPE)
    return MultivariateNormal(torch.randn(size, dtype=DTYPE, generator=noise(seed + 1)), precision_matrix=precision)


def test_the_start_of_a_gaussian_is_exact():
    target = gaussian(25)
    found = variational_newton(target.log_prob, 5 * torch.ones(25, dtype=DTYPE), 0.1, generator=noise())
    torch.testing.assert_close(found.loc, target.mean)
    torch.testing.assert_close(found.root @ found.root.T, target.covariance_matrix)
    assert bool((found.root.triu(1) == 0).all())
    draws = found.loc + torch.randn(20_000, 25, dtype=DTYPE, generator=noise()) @ found.root.T
    expected = target.log_prob(draws).mean() + found.root.diagonal().log().sum()
    assert found.bound == pytest.approx(float(expected), abs=1.0)


def test_the_start_is_the_best_gaussian_where_it_is_known():
    """For ``a x - exp(x)`` mean gradient and curvature give the variance ``1 / a`` and the mean ``log a - 1 / 2a``."""
    a = torch.tensor([50.0, 200.0, 1000.0], dtype=DTYPE)
    found = variational_newton(lambda x: (a * x - x.exp()).sum(-1), torch.zeros(3, dtype=DTYPE), 0.1, generator=noise())
    covariance = found.root @ found.root.T
    torch.testing.assert_close(covariance.diagonal(), 1 / a, rtol=0.03, atol=0.0)
    torch.testing.assert_close(found.loc, a.log() - 0.5 / a, rtol=0.0, atol=4e-3)


def test_from_between_two_modes_the_start_goes_to_one():
    found = variational_newton(
        lambda x: -2 * (x.square() - 4).square().sum(-1), torch.full((2,), 0.3, dtype=DTYPE), 0.1, generator=noise()
    )
    torch.testing.assert_close(found.loc, torch.full((2,), 2.0, dtype=DTYPE), rtol=0.03, atol=0.0)


def test_there_is_no_start_where_the_density_is_no_number():
    assert variational_newton(lambda x: x.sum(-1) * math.nan, torch.zeros(2), 0.1) is None


def test_the_frame_has_the_density_of_autograd_and_is_undone():
    frame = Frame(torch.randn(4, dtype=DTYPE), torch.linalg.cholesky(gaussian(4).covariance_matrix))
    u = torch.randn(2, 3, 4, dtype=DTYPE)
    x, density = frame.place(u)
    jacobian = torch.autograd.functional.jacobian(lambda v: frame.place(v)[0], u[0, 0])
    torch.testing.assert_close(density.sum(-1), -torch.linalg.slogdet(jacobian)[1].expand(2, 3))
    torch.testing.assert_close(frame.undo(x), u)


def entropy(q, samples=64):
    return -LinearReverse().estimate(q, Flat(q.geometry.num_weights), samples, noise()).value


def test_the_bound_is_exact_for_a_linear_map_and_so_is_its_gradient():
    torch.manual_seed(0)
    matrix = torch.randn(6, 2, dtype=DTYPE, requires_grad=True)
    offset, sigma = torch.randn(6, dtype=DTYPE), 0.3 + torch.rand(6, dtype=DTYPE)
    geometry = JacobianGeometry(lambda z: z @ matrix.T + offset, 2, 6, like=offset)
    found = entropy(SemiImplicit(geometry, sigma))
    covariance = matrix @ matrix.T + torch.diag(sigma**2)
    expected = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    torch.testing.assert_close(found, expected.detach())
    estimate = LinearReverse().estimate(SemiImplicit(geometry, sigma), Flat(6), 8, noise())
    (ours,) = torch.autograd.grad(estimate.surrogate, matrix)
    (theirs,) = torch.autograd.grad(-expected, matrix)
    torch.testing.assert_close(ours, theirs)


def winding(speed):
    def h(z):
        return torch.cat([0.5 * (speed * z).sin(), 0.5 * (speed * z).cos(), 0.7 * z], -1)

    return SemiImplicit(JacobianGeometry(h, 1, 3, like=ONE), 1.0)


def true_entropy(q):
    """Integrate the density over the latent on a grid, and average its logarithm over draws."""
    z = torch.linspace(-6, 6, 801, dtype=DTYPE)[:, None]
    draws = q.draw(2000, noise(1)).w
    given = -0.5 * (draws[:, None] - q.geometry(z)).square().sum(-1) - 1.5 * math.log(2 * math.pi)
    prior = -0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi) + math.log(float(z[1] - z[0]))
    density = (given + prior).logsumexp(-1)
    return -float(density.mean()), float(density.std()) / 2000**0.5


@pytest.mark.parametrize("speed", [0.5, 2.0, 12.0])
def test_a_map_that_winds_within_the_noise_cannot_cheat_the_bound(speed):
    q = winding(speed)
    truth, error = true_entropy(q)
    found = torch.stack([-LinearReverse().estimate(q, Flat(3), 8, noise(s)).value for s in range(16)])
    assert float(found.mean()) < truth + 3 * error
    if speed < 1:
        assert float(found.mean()) > truth - 0.05
    if speed > 10:
        assert -float(LIVI(200).estimate(q, Flat(3), generator=noise()).value) > truth + 0.5


def regression(x, y):
    """A linear regression with known noise, whose posterior is Gaussian."""
    w = pyro.sample("w", dist.Normal(torch.zeros(SIZE, dtype=DTYPE), ONE).to_event(1))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal((w * x).sum(-1), 0.5 * ONE), obs=y)


def data():
    x = torch.randn(40, SIZE, dtype=DTYPE, generator=noise()) + torch.randn(40, 1, dtype=DTYPE, generator=noise(1))
    return x, x @ torch.linspace(-2, 2, SIZE, dtype=DTYPE) + 0.5 * torch.randn(40, dtype=DTYPE, generator=noise(2))


def test_the_guide_of_a_gaussian_posterior_begins_there_and_stays():
    x, y = data()
    covariance = torch.linalg.inv(torch.eye(SIZE, dtype=DTYPE) + x.T @ x / 0.25)
    mean = covariance @ x.T @ y / 0.25
    torch.manual_seed(0)
    guide = AutoHypernet(regression)
    guide(x, y)
    assert isinstance(guide.posterior, WidePosterior)
    torch.testing.assert_close(guide.frame.loc, mean)
    torch.testing.assert_close(guide.frame.root @ guide.frame.root.T, covariance)
    fit(regression, guide, (x, y), num_steps=30, lr=0.01, num_particles=16, num_samples=8, alarms=False)
    draws = guide.sample_posterior(4000, generator=noise())["w"]
    assert float(((draws.mean(0) - mean) / covariance.diagonal().sqrt()).abs().max()) < 0.2
    assert float((draws.std(0) / covariance.diagonal().sqrt() - 1).abs().max()) < 0.15
    assert guide.check(regression, x, y, num_samples=200, num_particles=0, generator=noise()).reliable


def test_few_unknowns_have_a_latent_each():
    def model(count):
        with pyro.plate("all", count):
            pyro.sample("x", dist.Normal(0.0, 1.0))

    kinds = []
    for count in (MANY, MANY + 1):
        guide = AutoHypernet(lambda count=count: model(count))
        guide()
        kinds.append(type(guide.posterior))
    assert kinds == [HypernetPosterior, WidePosterior]
    for options in ({"stretch": True}, {"latent_size": 3}, {"layers": ()}):
        guide = AutoHypernet(lambda: model(MANY + 1), **options)
        guide()
        assert isinstance(guide.posterior, HypernetPosterior)


def groups():
    mean = pyro.sample("mean", dist.Normal(0 * ONE, ONE))
    scale = pyro.sample("scale", dist.HalfNormal(ONE))
    with pyro.plate("groups", SIZE):
        x = pyro.sample("x", dist.Normal(mean, scale))
        pyro.sample("y", dist.Normal(x, ONE), obs=torch.linspace(-1, 3, SIZE, dtype=DTYPE))


@pytest.mark.parametrize("tails", [None, 1.5])
def test_the_way_to_the_sites_integrates_the_changes_of_its_parts(tails):
    torch.manual_seed(0)
    guide = AutoHypernet(groups, tails=tails)
    guide()
    sites = guide._sites((), {})
    assert len(sites.bijections) == (1 if tails is None else 2)
    u = torch.randn(3, SIZE + 2, dtype=DTYPE)
    x, way = sites.rows(u)
    back, again = sites.rows(x, undo=True)
    torch.testing.assert_close(back, u)
    torch.testing.assert_close(again, way)
    jacobian = torch.autograd.functional.jacobian(lambda v: sites.rows(v[None])[0][0], u[0])
    log_scale = x[0, 1]  # the only site that is not real
    torch.testing.assert_close(way[0], -torch.linalg.slogdet(jacobian)[1] - log_scale)


def test_it_is_saved_with_its_coordinates_and_kept_by_its_prior():
    torch.manual_seed(0)
    guide = AutoHypernet(groups)
    guide()
    fresh = AutoHypernet(groups)
    fresh.load_state_dict(guide.state_dict())
    assert isinstance(fresh.estimator, LinearReverse)
    found = fresh.sample_posterior(3, generator=noise())
    for name, value in guide.sample_posterior(3, generator=noise()).items():
        torch.testing.assert_close(found[name], value)
    values = {name: value[0] for name, value in found.items()}
    torch.manual_seed(1)
    prior = guide.as_prior()
    before = prior.log_density(values)
    with torch.no_grad():
        guide.frame.far.loc.add_(1.0)
    torch.manual_seed(1)
    again = prior.log_density(values)
    torch.testing.assert_close(again, before, rtol=0.0, atol=0.5)
    assert float(guide.as_prior().log_density(values)) < float(before) - 2.0


def test_a_model_that_is_not_written_for_plates_begins_near_its_posterior_too():
    """It is run once for each gradient: a product of a matrix with the unknowns is no product with rows of them."""
    x = torch.randn(60, SIZE, dtype=DTYPE, generator=noise())
    y = x @ torch.randn(SIZE, dtype=DTYPE, generator=noise(1))

    def regression():
        w = pyro.sample("w", dist.Normal(torch.zeros(SIZE, dtype=DTYPE), ONE).to_event(1))
        pyro.sample("y", dist.Normal(x @ w, 0.5).to_event(1), obs=y)

    guide = AutoHypernet(regression)
    guide()
    covariance = torch.linalg.inv(x.T @ x / 0.25 + torch.eye(SIZE, dtype=DTYPE))
    torch.testing.assert_close(guide.frame.loc, covariance @ (x.T @ y) / 0.25, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(guide.frame.root @ guide.frame.root.T, covariance, rtol=1e-3, atol=1e-5)


def test_a_large_model_that_is_not_written_for_plates_begins_at_its_starting_values(monkeypatch):
    def single():
        w = pyro.sample("w", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
        pyro.factor("seen", -w[0].square())

    monkeypatch.setattr(start, "_MOST_SINGLY", SIZE - 1)
    torch.manual_seed(0)
    guide = AutoHypernet(single, init_scale=0.3)
    guide()
    assert "frame" not in dict(guide.named_modules())
    draws = guide.sample_posterior(4000, generator=noise())["w"]
    torch.testing.assert_close(draws.std(0), torch.full((SIZE,), 0.3), rtol=0.1, atol=0.0)


def test_the_start_is_the_same_each_time_and_leaves_the_state_of_generators():
    guide = AutoHypernet(groups)
    guide()
    state = torch.get_rng_state()
    sites, zero = guide._sites((), {}), torch.zeros(SIZE + 2, dtype=DTYPE)
    sites.bijections = ()
    found = [find_frame(groups, sites, zero, 0.1, (), {}) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    u = torch.randn(3, SIZE + 2, dtype=DTYPE)
    assert torch.equal(found[0].place(u)[0], found[1].place(u)[0])


@pytest.mark.parametrize(("size", "searched"), [(100, True), (101, False)])
def test_models_of_more_than_a_hundred_unknowns_are_not_searched(size, searched, monkeypatch):
    def normal():
        with pyro.plate("all", size):
            pyro.sample("x", dist.Normal(0.0, 1.0))

    asked = []
    monkeypatch.setattr(search, "_prior_draw", lambda *given: asked.append(given) or torch.full((size,), math.nan))
    guide = AutoHypernet(normal, layers=())
    check = guide.check(normal, num_samples=100, num_particles=50, generator=noise())
    assert check.missed is None
    assert bool(asked) == searched


@pytest.mark.parametrize("loss", [Trace_ELBO(), Trace_ELBO(4, vectorize_particles=True, max_plate_nesting=1), None])
def test_the_first_call_may_be_inside_handlers(loss):
    """Those of a step of SVI, of particles in a plate, and of predictions, which mask densities."""

    def group():
        with pyro.plate("group", 40):
            x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 40):
            pyro.sample("y", dist.Normal(x, 0.1), obs=torch.ones(40))

    guide = AutoHypernet(group)
    if loss is None:
        Predictive(group, guide=guide, num_samples=3)()
    else:
        SVI(group, guide, pyro.optim.Adam({"lr": 0.01}), loss).step()
    torch.testing.assert_close(guide.frame.loc, torch.full((40,), 1 / 1.01), rtol=0.0, atol=0.01)
    torch.testing.assert_close(guide.frame.root.diagonal(), torch.full((40,), 101**-0.5), rtol=0.05, atol=0.0)


def test_the_first_call_leaves_no_statements_and_no_random_numbers():
    def subsampled():
        with pyro.plate("group", 40):
            x = pyro.sample("x", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 1000, subsample_size=10):
            pyro.sample("y", dist.Normal(x.mean(-1), 1.0), obs=torch.zeros(10))

    guide = AutoHypernet(subsampled)
    nodes = pyro.poutine.trace(guide).get_trace().nodes
    assert "_rows_of_values" not in nodes
    assert "x" in nodes
    state = torch.get_rng_state()
    sites = guide._sites((), {})
    sites.bijections = ()
    find_frame(subsampled, sites, torch.zeros(40), 0.1, (), {})
    assert torch.equal(torch.get_rng_state(), state)


def test_the_log_says_why_a_guide_begins_at_its_starting_values(caplog):
    def brittle():
        w = pyro.sample("w", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1))
        if float(w.detach().abs().max()) > 0.2:
            raise ArithmeticError("too far")

    plain = AutoHypernet(lambda: pyro.sample("w", dist.Normal(torch.zeros(SIZE), 1.0).to_event(1)))
    plain()
    found = plain._sites((), {})
    found.bijections = ()
    with caplog.at_level("INFO", logger="bayeshnet"):
        assert find_frame(brittle, found, torch.zeros(SIZE), 0.3, (), {}) is None
    assert "too far" in caplog.text
