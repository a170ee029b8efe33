"""A guide as the prior of the next data set: densities in closed form, particles, draws, refusals."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch.distributions import MultivariateNormal

from bayeshnet.guides import AutoHypernet
from bayeshnet.guides.checking.joint import log_joint
from bayeshnet.inference import ImplicitELBO, fit, reference_posterior
from tests.support.oracles import DTYPE

FIRST = torch.tensor([0.4, 1.1, 0.7], dtype=DTYPE)
SECOND = torch.tensor([2.0, 1.2], dtype=DTYPE)
ONE = torch.ones((), dtype=DTYPE)


def conjugate(y):
    mean = pyro.sample("mean", dist.Normal(0 * ONE, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def schools(y):
    mu = pyro.sample("mu", dist.Normal(0 * ONE, 5.0))
    tau = pyro.sample("tau", dist.LogNormal(0 * ONE, 1.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, 2 * ONE), obs=y)


def exact_guide(y):
    """The posterior of the conjugate model as a linear guide."""
    guide = AutoHypernet(conjugate, layers=(), sigma=0.1)
    guide(y)
    precision = len(y) + 0.25
    with torch.no_grad():
        head, offset = list(guide.posterior.hnet.params.values())[:2]
        head.fill_((precision * 1.01) ** -0.5)
        offset.fill_(float(y.sum()) / precision)
    return guide


def evidence(y):
    law = MultivariateNormal(torch.zeros(len(y), dtype=DTYPE), torch.eye(len(y), dtype=DTYPE) + 4)
    return law.log_prob(y)


def test_the_posterior_of_both_data_sets_is_that_of_all_data():
    """Up to the evidence of the first data, the new joint density is that of the model on all data, at any value."""
    model = exact_guide(FIRST).as_prior()(conjugate)
    values = {"mean": torch.linspace(-1, 3, 9, dtype=DTYPE)}
    found = log_joint(model, values, (SECOND,))
    everything = log_joint(conjugate, values, (torch.cat([FIRST, SECOND]),))
    torch.testing.assert_close(found, everything - evidence(FIRST))
    check = exact_guide(torch.cat([FIRST, SECOND])).check(model, SECOND, generator=torch.Generator().manual_seed(0))
    assert check.k_hat == -1.0
    assert check.log_evidence == pytest.approx(float(evidence(torch.cat([FIRST, SECOND])) - evidence(FIRST)), abs=1e-6)


def nonlinear_guide():
    torch.manual_seed(0)
    guide = AutoHypernet(schools, layers=(6,), init_scale=0.4, sigma=0.3)
    guide(FIRST)
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return guide


def test_the_density_of_a_centred_guide_is_the_one_at_its_own_draws():
    """Both are estimates: the guide's own knows the latents of the draws, the prior searches them."""
    guide = nonlinear_guide()
    draws = guide.draws_with_density(200, (FIRST,), {}, torch.Generator().manual_seed(0))
    prior = guide.as_prior()
    prior.num_proposals = 256
    # As under a plate of particles.
    packed = {n: v.reshape(200, 1, *v.shape[1:]) if n != "theta" else v for n, v in draws.values.items()}
    torch.manual_seed(0)
    found = prior.log_density(packed)
    assert found.shape == (200, 1)
    difference = found[:, 0] - 0.5 * (draws.lower + draws.upper)
    assert float(difference.median().abs()) < 0.05
    assert float(difference.abs().mean()) < 0.15
    one = prior.log_density({name: value[0] for name, value in draws.values.items()})
    assert one.shape == ()
    assert float(one) == pytest.approx(float(found[0, 0]), abs=0.3)


def test_the_gradient_of_the_density_is_that_of_a_closed_form():
    prior = exact_guide(FIRST).as_prior()
    value = torch.tensor(0.3, dtype=DTYPE, requires_grad=True)
    (found,) = torch.autograd.grad(prior.log_density({"mean": value}), value)
    torch.testing.assert_close(found, FIRST.sum() - 3.25 * value.detach())


@pytest.mark.parametrize("loss", [Trace_ELBO, ImplicitELBO])
def test_particles_of_the_next_guide_are_taken_together(loss):
    model = nonlinear_guide().as_prior()(schools)
    guide = AutoHypernet(model, layers=(4,))
    guide(FIRST)
    value = loss(num_particles=5, vectorize_particles=True, max_plate_nesting=1).differentiable_loss(
        model, guide, FIRST
    )
    value.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in guide.parameters())


def test_unknowns_without_values_are_drawn_from_the_guide():
    guide = exact_guide(FIRST)
    model = guide.as_prior()(conjugate)
    torch.manual_seed(0)
    draws = torch.stack([poutine.trace(model).get_trace(SECOND).nodes["mean"]["value"] for _ in range(300)])
    assert float(draws.mean()) == pytest.approx(float(FIRST.sum()) / 3.25, abs=0.13)
    assert float(draws.std()) == pytest.approx(3.25**-0.5, rel=0.17)


def test_later_training_of_the_guide_does_not_change_the_prior():
    guide = exact_guide(FIRST)
    prior = guide.as_prior()
    before = prior.log_density({"mean": ONE})
    with torch.no_grad():
        for p in guide.parameters():
            p.add_(1.0)
    torch.testing.assert_close(prior.log_density({"mean": ONE}), before)


def test_models_without_the_sites_are_refused():
    prior = exact_guide(FIRST).as_prior()
    with pytest.raises(ValueError, match="got one without the site 'mean'"):
        prior(lambda y: pyro.sample("other", dist.Normal(0.0, 1.0)))(SECOND)
    with pytest.raises(TypeError, match="model: expected a Pyro model"):
        prior(3)
    with pytest.raises(ValueError, match=r"Call guide\(\*args\) once"):
        AutoHypernet(conjugate).as_prior()


@pytest.mark.slow
def test_the_sampler_takes_the_new_model():
    model = exact_guide(FIRST).as_prior()(conjugate)
    found = reference_posterior(model, SECOND, num_samples=600, generator=torch.Generator().manual_seed(0))
    everything = torch.cat([FIRST, SECOND])
    assert float(found.samples["mean"].mean()) == pytest.approx(float(everything.sum()) / 5.25, abs=0.1)
    assert float(found.samples["mean"].std()) == pytest.approx(5.25**-0.5, rel=0.15)


def spreads(y, errors):
    """Schools whose effects are summed out: a mean and a log-spread."""
    mu = pyro.sample("mu", dist.Normal(0 * ONE, 5.0))
    tau = pyro.sample("tau", dist.LogNormal(1.5 * ONE, 1.0))
    with pyro.plate("schools", len(y)):
        pyro.sample("y", dist.Normal(mu, (tau**2 + errors**2).sqrt()), obs=y)


@pytest.mark.slow
def test_schools_in_two_halves_give_the_posterior_of_all_schools():
    """The second guide, which has seen four schools and a guide of the others, beside NUTS that saw all eight."""
    effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=DTYPE)
    errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=DTYPE)
    options = {"lr": 0.02, "scheduler": "cosine", "num_particles": 16, "alarms": False}
    torch.manual_seed(0)
    first = AutoHypernet(spreads, layers=(16,))
    fit(spreads, first, arguments={"y": effects[:4], "errors": errors[:4]}, num_steps=250, **options)
    model = first.as_prior()(spreads)
    second = AutoHypernet(model, layers=(16,))
    fit(model, second, arguments={"y": effects[4:], "errors": errors[4:]}, num_steps=150, **options)
    found = second.sample_posterior(4000, y=effects[4:], errors=errors[4:])
    noise = torch.Generator().manual_seed(0)
    known = reference_posterior(spreads, y=effects, errors=errors, num_samples=600, generator=noise).samples
    half = first.sample_posterior(4000, y=effects[:4], errors=errors[:4])
    for name, of in (("mu", torch.Tensor.double), ("tau", torch.log)):
        own, nuts = of(found[name]), of(known[name])
        assert abs(float(own.mean() - nuts.mean())) < 0.2 * float(nuts.std())
        assert float(own.std() / nuts.std()) == pytest.approx(1.0, abs=0.2)
        assert float(of(half[name]).std() / nuts.std()) > 1.03  # four schools alone say less
