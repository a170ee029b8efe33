"""AutoHypernet: the bound against one written by hand, particles, supports, refusals, state."""

import io
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    SVI,
    Predictive,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch import nn
from torch.distributions import MultivariateNormal, biject_to

from bayeshnet.distributions import SemiImplicit
from bayeshnet.distributions.flat import Flat
from bayeshnet.estimators import LIVI, SSGE, ImportanceSandwich
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import ImplicitELBO, fit
from tests.support.guide_toys import Replayed, gradients_of
from tests.support.oracles import DTYPE

Y = torch.tensor([1.2, 0.3, 2.5, 0.9], dtype=DTYPE)
ZERO, ONE = torch.zeros((), dtype=DTYPE), torch.ones((), dtype=DTYPE)


def model(y=Y):
    """Two positive numbers, a probability vector and one unknown per datum."""
    scale = pyro.sample("scale", dist.LogNormal(ZERO, ONE))
    shares = pyro.sample("shares", dist.Dirichlet(torch.ones(3, dtype=DTYPE)))
    with pyro.plate("data", len(y)):
        x = pyro.sample(
            "x",
            dist.Normal(shares[..., :1].squeeze(-1).unsqueeze(-1), scale.unsqueeze(-1))
            if shares.ndim > 1
            else dist.Normal(shares[0], scale),
        )
        pyro.sample("y", dist.Gamma(x.exp(), ONE), obs=y)


def simple(y=Y):
    """One positive number and one unknown per datum, written for any plates around it."""
    scale = pyro.sample("scale", dist.LogNormal(ZERO, ONE))
    with pyro.plate("data", len(y)):
        x = pyro.sample("x", dist.Normal(ZERO, scale))
        pyro.sample("y", dist.Normal(x, 0.5 * ONE), obs=y)


def guide_of(program, **options):
    torch.manual_seed(0)
    guide = AutoHypernet(program, **{"layers": (5,), "centring": None, **options})
    guide(Y)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return guide


def log_joint(program, values, y=Y):
    return poutine.trace(poutine.condition(program, values)).get_trace(y).log_prob_sum()


def unpack(guide, latent):
    """Values and log-determinant of all transforms for one latent vector, written by hand."""
    values, log_det, at = {}, 0.0, 0
    for name, site in guide.prototype_trace.iter_stochastic_nodes():
        transform = biject_to(site["fn"].support)
        size = transform.inv(site["value"]).numel()
        part = latent[at : at + size].reshape(transform.inv(site["value"]).shape)
        values[name] = transform(part)
        log_det = log_det + transform.log_abs_det_jacobian(part, values[name]).sum()
        at += size
    return values, log_det


@pytest.mark.parametrize("program", [simple, model])
@pytest.mark.parametrize("num_samples", [None, 6])
def test_the_loss_is_the_one_written_by_hand(program, num_samples):
    guide = guide_of(program, num_samples=num_samples, estimator=LIVI())
    torch.manual_seed(3)
    loss = Trace_ELBO(num_particles=2).differentiable_loss(program, guide, Y)
    torch.manual_seed(3)
    terms = []
    draws = []
    q = guide.distribution()
    for _ in range(2):
        draw = q.draw(1)
        if num_samples is None:
            entropy = LIVI().log_density(q, draw)[0]
        else:
            entropy = LIVI().estimate(q, Flat(q.event_shape[0]), num_samples).surrogate
        draws.append((draw.w[0], entropy))
    for w, entropy in draws:
        values, log_det = unpack(guide, w)
        terms.append(entropy - log_det - log_joint(program, values))
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients_of(loss, guide), gradients_of(expected, guide))


@pytest.mark.parametrize("loss", [Trace_ELBO, TraceGraph_ELBO])
def test_vectorized_particles_are_the_looped_ones(loss, monkeypatch):
    guide = guide_of(simple, num_samples=None)
    gen = torch.Generator().manual_seed(0)
    table = [(torch.randn(5, dtype=DTYPE, generator=gen), torch.randn(5, dtype=DTYPE, generator=gen)) for _ in range(4)]
    rows = []

    def distribution():
        q = guide.posterior()
        replayed = Replayed(q.geometry, q.sigma)
        replayed.table = rows
        return replayed

    monkeypatch.setattr(guide, "distribution", distribution)
    results = []
    for vectorize in (False, True):
        rows[:] = table
        elbo = loss(num_particles=4, vectorize_particles=vectorize, max_plate_nesting=1)
        guide.zero_grad()
        value = elbo.loss_and_grads(simple, guide, Y)
        results.append((torch.tensor(value), torch.cat([p.grad.flatten() for p in guide.parameters()])))
        assert not rows
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_each_particle_is_a_draw_of_its_own():
    guide = guide_of(simple)
    with pyro.plate("particles", 6, dim=-2):
        values = guide(Y)
    assert values["scale"].shape == (6, 1)
    assert values["x"].shape == (6, 4)
    assert values["scale"].unique().numel() == 6


def test_the_implicit_elbo_is_the_trace_elbo_on_average():
    guide = guide_of(simple)
    with torch.no_grad():
        ours = torch.tensor(
            [ImplicitELBO(num_particles=200, max_plate_nesting=1).loss(simple, guide, Y) for _ in range(20)]
        )
        trace = Trace_ELBO(num_particles=200, vectorize_particles=True, max_plate_nesting=1)
        guide.num_samples = None
        theirs = torch.tensor([trace.loss(simple, guide, Y) for _ in range(20)])
    assert (ours.mean() - theirs.mean()).abs() < 4 * ((ours.var() + theirs.var()) / 20).sqrt()


def test_latents_for_the_entropy_do_not_follow_the_particles():
    """The gradient of the entropy has the variance of its own number of latents, with one particle too."""
    guide = guide_of(simple)

    def spread(num_samples):
        guide.num_samples = num_samples
        rows = []
        for _ in range(60):
            site = guide.get_posterior()
            rows.append(gradients_of(site.log_prob(site.rsample()), guide))
        return torch.stack(rows).var(0).sum()

    ratio = spread(2) / spread(64)
    assert 12 < ratio < 90


def gaussian_guide():
    """Without hidden layers the guide is a Gaussian whose law is known."""
    program = lambda y=None: pyro.sample("x", dist.Normal(torch.zeros(3, dtype=DTYPE), 1.0).to_event(1))  # noqa: E731
    return program, guide_of(program, layers=(), estimator=LIVI())


def test_without_hidden_layers_it_is_a_full_gaussian():
    program, guide = gaussian_guide()
    matrix, offset = guide.distribution().geometry.affine()
    law = MultivariateNormal(offset, matrix @ matrix.T + torch.diag(guide.distribution().sigma ** 2))
    kl = torch.distributions.kl_divergence(
        law, MultivariateNormal(torch.zeros(3, dtype=DTYPE), torch.eye(3, dtype=DTYPE))
    )
    with torch.no_grad():
        losses = [ImplicitELBO(num_particles=500, num_samples=2).loss(program, guide, Y) for _ in range(40)]
    losses = torch.tensor(losses)
    assert (losses.mean() - kl.detach()).abs() < 4 * losses.std() / 40**0.5
    audit = guide.audit(128)
    assert audit.value == pytest.approx(-law.entropy().item(), abs=1e-3)
    assert audit.lower < -law.entropy().item() < audit.upper
    with pytest.warns(DeprecationWarning, match="num_draws"):
        assert guide.audit(num_draws=128).verdict == "trusted"


def test_the_audit_finds_the_entropy_of_a_fold_and_names_it():
    """A posterior of ``|z| + 0.05 eps``, whose entropy is negative enough that no KL could have the value."""
    program = lambda y=None: pyro.sample("x", dist.Normal(torch.zeros(1, dtype=DTYPE), 1.0).to_event(1))  # noqa: E731
    guide = guide_of(program)
    folded = SemiImplicit(JacobianGeometry(torch.abs, 1, 1, like=torch.zeros(1, dtype=DTYPE)), 0.05)
    guide.distribution = lambda: folded
    x = torch.linspace(-2, 9, 20_001, dtype=DTYPE)
    width = math.hypot(1, 0.05)
    log_q = math.log(2) - x**2 / (2 * width**2) - math.log(width * math.sqrt(2 * math.pi))
    log_q = log_q + torch.special.log_ndtr(x / (0.05 * width))
    truth = torch.trapezoid(log_q.exp() * log_q, x).item()
    report = guide.audit(generator=torch.Generator().manual_seed(0))
    assert report.verdict == "trusted"
    assert report.lower - 0.02 < truth < report.upper + 0.02
    assert report.upper < 0
    assert "fold" in report.alarms


def test_quantiles_are_those_of_the_marginals():
    _, guide = gaussian_guide()
    matrix, offset = guide.distribution().geometry.affine()
    std = ((matrix**2).sum(1) + guide.distribution().sigma ** 2).sqrt()
    found = guide.quantiles([0.1, 0.5, 0.9], Y, num_samples=40_000)["x"]
    expected = offset + std * torch.tensor([-1.2816, 0.0, 1.2816], dtype=DTYPE).unsqueeze(-1)
    torch.testing.assert_close(found, expected.detach(), atol=0.05 * std.max().item(), rtol=0)
    torch.testing.assert_close(
        guide.median(Y, num_samples=40_000)["x"], offset.detach(), atol=0.05 * std.max().item(), rtol=0
    )


def test_quantiles_keep_to_the_supports():
    guide = guide_of(model)
    found = guide.quantiles([0.05, 0.95], Y)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"scale": (2,), "shares": (2, 3), "x": (2, 4)}
    assert (found["scale"] > 0).all()
    torch.testing.assert_close(found["shares"].sum(-1), torch.ones(2, dtype=DTYPE))


@pytest.mark.parametrize("parallel", [False, True])
def test_pyros_predictive_draws_from_it(parallel):
    guide = guide_of(simple)
    samples = Predictive(simple, guide=guide, num_samples=30, parallel=parallel)(Y)
    assert samples["x"].squeeze().shape == (30, 4)
    assert samples["scale"].squeeze().unique().numel() == 30
    assert samples["y"].squeeze().shape == (30, 4)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("loss", [Trace_ELBO, ImplicitELBO])
def test_svi_trains_it_without_the_parameter_store(local, loss):
    pyro.clear_param_store()
    with pyro.settings.context(module_local_params=local):
        torch.manual_seed(0)
        guide = AutoHypernet(simple, layers=(5,))
        guide(Y)
        before = [p.detach().clone() for p in guide.parameters()]
        elbo = loss(num_particles=8, vectorize_particles=True)
        svi = SVI(simple, guide, pyro.optim.Adam({"lr": 0.02}), elbo)
        losses = [svi.step(Y) for _ in range(40)]
        assert sum(losses[-5:]) < sum(losses[:5])
        assert all((a != b).any() for a, b in zip(before, guide.parameters(), strict=True))
        assert list(pyro.get_param_store()) == []


def test_fit_makes_the_parameters_that_it_trains():
    guide = AutoHypernet(simple, layers=(5,))
    result = fit(
        simple, guide, (Y,), num_steps=60, lr=0.02, num_particles=8, generator=torch.Generator().manual_seed(0)
    )
    assert result.history["loss"][-10:].mean() < result.history["loss"][:10].mean()


def test_it_is_saved_and_loaded_without_a_run_of_the_model():
    guide = guide_of(model)
    buffer = io.BytesIO()
    torch.save(guide.state_dict(), buffer)
    buffer.seek(0)
    fresh = AutoHypernet(model, layers=(5,), centring=None)
    fresh.load_state_dict(torch.load(buffer))
    assert fresh.prototype_trace is None
    for a, b in zip(guide.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    fresh(Y)
    torch.manual_seed(1)
    first = guide(Y)
    torch.manual_seed(1)
    torch.testing.assert_close(fresh(Y), first)
    assert pickle.dumps(fresh.state_dict())


def test_a_stretched_guide_begins_as_the_plain_one_and_keeps_its_stretch():
    plain, guide = guide_of(model), AutoHypernet(model, layers=(5,), stretch=True, centring=None)
    guide(Y)
    missing, unexpected = guide.load_state_dict(plain.state_dict(), strict=False)
    assert [name.rpartition(".")[-1] for name in missing] == ["stretch"]
    assert not unexpected
    z = torch.randn(4, guide.latent_dim, dtype=DTYPE)
    torch.testing.assert_close(guide.distribution().geometry(z), plain.distribution().geometry(z))
    with torch.no_grad():
        guide.get_parameter(missing[0]).fill_(0.3)
    assert not torch.allclose(guide.distribution().geometry(z), plain.distribution().geometry(z))
    fresh = AutoHypernet(model, layers=(5,), stretch=True, centring=None)
    fresh.load_state_dict(guide.state_dict())
    torch.testing.assert_close(fresh.distribution().geometry(z), guide.distribution().geometry(z))
    with pytest.raises(ValueError, match="stretch: expected False without hidden layers"):
        AutoHypernet(model, layers=(), stretch=True)


def test_a_model_of_another_size_does_not_take_the_state():
    fresh = AutoHypernet(model, layers=(5,), centring=None)
    fresh.load_state_dict(guide_of(simple).state_dict())
    with pytest.raises(ValueError, match="a model of 5 unknowns"):
        fresh(Y)


REFUSED = {
    "closed form": (TraceMeanField_ELBO, {}, "Use Trace_ELBO, TraceGraph_ELBO or ImplicitELBO"),
    "renyi": (RenyiELBO, {"alpha": 0.5, "num_particles": 2}, "use Trace_ELBO or ImplicitELBO"),
    "wake sleep": (ReweightedWakeSleep, {"num_particles": 2, "vectorize_particles": True}, "use Trace_ELBO"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_losses_that_would_be_wrong_are_refused(case):
    loss, options, message = REFUSED[case]
    guide = guide_of(simple)
    with pytest.raises(ValueError, match=message):
        loss(max_plate_nesting=1, **options).loss_and_grads(simple, guide, Y)


def test_the_renyi_bound_is_taken_with_a_density_per_draw():
    guide = guide_of(simple, estimator=ImportanceSandwich(num_proposals=8, control_variate=False))
    loss = RenyiELBO(alpha=0.0, num_particles=50, vectorize_particles=True, max_plate_nesting=1)
    tighter = torch.tensor([loss.loss_and_grads(simple, guide, Y) for _ in range(5)])
    plain = ImplicitELBO(ImportanceSandwich(), num_particles=50, num_samples=50, max_plate_nesting=1)
    assert tighter.mean() < torch.tensor([plain.loss(simple, guide, Y) for _ in range(5)]).mean()


def test_an_estimator_without_value_gives_its_gradient():
    guide = guide_of(simple, estimator=SSGE(), num_samples=30)
    loss = ImplicitELBO(num_particles=2, max_plate_nesting=1).terms(simple, guide, Y)
    assert loss.kl is None
    assert gradients_of(loss.loss, guide).isfinite().all()
    assert gradients_of(Trace_ELBO().differentiable_loss(simple, guide, Y), guide).isfinite().all()


def test_there_is_no_transform():
    guide = guide_of(simple)
    for ask in (guide.get_transform, guide.get_base_dist):
        with pytest.raises(ValueError, match="AutoIAFNormal"):
            ask()
    with pytest.raises(ValueError, match=r"Call guide\(\*args\) once"):
        AutoHypernet(simple).distribution()


def test_dtype_and_start_follow_the_model():
    guide = AutoHypernet(simple, init_scale=0.01, sigma=0.01, layers=(4,), activation_fn=nn.ReLU())
    values = guide(Y)
    assert {p.dtype for p in guide.parameters()} == {DTYPE}
    start, _ = unpack(guide, guide._init_loc())
    torch.testing.assert_close(values["scale"], start["scale"], atol=0.1, rtol=0)
    wide = AutoHypernet(simple, latent_size=9, layers=(4,))
    wide(Y)
    assert wide.distribution().latent_size == 9


def test_the_old_name_of_the_number_of_samples():
    for number in (None, 6):
        with pytest.warns(DeprecationWarning, match="num_latents is deprecated: use num_samples"):
            assert AutoHypernet(simple, num_latents=number).num_samples == number


def test_models_without_continuous_unknowns_are_refused_with_the_cause():
    def discrete():
        k = pyro.sample("k", dist.Categorical(torch.ones(3)))
        pyro.sample("x", dist.Normal(k.to(torch.get_default_dtype()), 1.0))

    def observed():
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(()))

    for model in (discrete, observed):
        with pytest.raises(ValueError, match=r"^model: expected one with continuous unknowns, got ") as caught:
            AutoHypernet(model)()
        assert caught.value.__cause__ is not None
