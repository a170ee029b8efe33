"""The guide under Pyro's losses: values, gradients, particles, conditions, and what is refused."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    SVI,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)
from pyro.infer.inspect import get_model_relations
from torch import nn

from bayeshnet.distributions import DiracPosterior, MeanFieldGaussian, MeanFieldPosterior
from bayeshnet.estimators import LIVI, ClosedForm, ImportanceSandwich, MonteCarlo, diagnose
from bayeshnet.guides import HypernetGuide, LowRankGuide, MeanFieldGuide, RadialGuide
from bayeshnet.guides.implicit_site import ImplicitSite
from tests.support.guide_toys import ReplayedPosterior, ToyPosterior, data, gradients_of, regression, small_net
from tests.support.oracles import DTYPE

EXPLICIT = {"mean field": MeanFieldGuide, "low rank": LowRankGuide, "radial": RadialGuide}


def explicit(family):
    return EXPLICIT[family](small_net(), scale="fan_in").to(DTYPE)


@pytest.mark.parametrize("family", EXPLICIT)
def test_a_guide_of_named_weights_needs_no_network(family):
    net = small_net()
    spec = net.weight_spec
    torch.manual_seed(0)
    one = EXPLICIT[family](spec, scale="fan_in")
    torch.manual_seed(0)
    two = EXPLICIT[family](net, scale="fan_in")
    assert one.weight_spec is spec
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="net: expected a network with parameters"):
        EXPLICIT[family](nn.ReLU())


def test_each_particle_is_a_draw_of_its_own():
    _, guide = regression()
    with pyro.plate("particles", 5, dim=-2):
        w = guide()
    assert w.shape == (5, 1, guide.weight_spec.numel)
    assert torch.unique(w[:, 0, 0]).numel() == 5


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("loss", [Trace_ELBO, TraceGraph_ELBO])
@pytest.mark.parametrize("estimator", [LIVI(), ImportanceSandwich(num_proposals=4)], ids=["livi", "sandwich"])
def test_the_loss_is_the_one_written_by_hand(vectorize, loss, estimator):
    model, guide = regression(num_data=36)
    guide.estimator = estimator
    posterior = ReplayedPosterior(guide.weight_spec).fill(6)
    guide.posterior = posterior
    x, y = data()
    elbo = loss(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
    torch.manual_seed(3)
    if loss is Trace_ELBO:
        value = elbo.differentiable_loss(model, guide, x, y)
        grad = gradients_of(value, guide)
    else:
        value = torch.tensor(elbo.loss_and_grads(model, guide, x, y), dtype=DTYPE)
        grad = torch.cat([p.grad.flatten() for p in guide.parameters()])
    torch.manual_seed(3)
    q = posterior.fill(6)()
    draws = [q.draw(3)] if vectorize else [q.draw(1) for _ in range(3)]
    terms = [estimator.log_density(q, d) - model.prior.log_prob(d.w) - model.log_likelihood(d.w, x, y) for d in draws]
    expected = torch.cat(terms).mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, gradients_of(expected, guide))


def test_vectorized_particles_are_the_looped_ones():
    model, guide = regression(num_data=36)
    x, y = data()
    results = []
    for vectorize in (False, True):
        guide.posterior = ReplayedPosterior(guide.weight_spec).fill(8)
        elbo = Trace_ELBO(num_particles=8, vectorize_particles=vectorize, max_plate_nesting=1)
        loss = elbo.differentiable_loss(model, guide, x, y)
        results.append((loss, gradients_of(loss, guide)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_guessed_plates_give_the_same():
    model, guide = regression()
    guide.posterior = ReplayedPosterior(guide.weight_spec).fill(5)
    loss = Trace_ELBO(num_particles=4, vectorize_particles=True).differentiable_loss(model, guide, *data())
    assert torch.isfinite(loss)
    assert guide.posterior.table == []


def test_a_linear_guide_has_the_elbo_of_the_closed_form():
    """Exact KL and exact expected log-likelihood by many particles, in double precision."""
    model, guide = regression(linear=True)
    x, y = data()
    q, num = guide.distribution(), 20_000
    with torch.no_grad():
        draw = q.draw(num, torch.Generator().manual_seed(0))
        likelihood = model.log_likelihood(draw.w, x, y)
        rest = q.log_prob(draw.w) - model.prior.log_prob(draw.w)
        exact = ClosedForm().estimate(q, model.prior).value - likelihood.mean()
        value = Trace_ELBO(num_particles=num, vectorize_particles=True, max_plate_nesting=1).loss(model, guide, x, y)
    error = (likelihood.var() + (rest - likelihood).var()).sqrt() / num**0.5
    assert abs(value - exact) < 4 * error


def test_the_audit_of_a_guide_is_the_diagnosis_of_its_posterior():
    for family in EXPLICIT:
        model, guide = regression()[0], explicit(family)
        report = guide.audit(model, num_samples=200, generator=torch.Generator().manual_seed(0))
        expected = diagnose(guide.distribution(), model.prior, 200, torch.Generator().manual_seed(0))
        assert (report.value, report.lower, report.upper) == (expected.value, expected.lower, expected.upper)
        assert report.verdict == expected.verdict


def test_the_audit_of_a_condition_is_its_own():
    posterior = MeanFieldPosterior(small_net().weight_spec, scale="fan_in").to(DTYPE)

    class PerCondition(nn.Module):
        weight_spec = posterior.weight_spec

        def forward(self, cond_id=None, cond_input=None):
            return MeanFieldGaussian(
                torch.full((self.weight_spec.numel,), float(cond_id), dtype=DTYPE), posterior().scale
            )

    prior = MeanFieldGaussian(posterior().loc * 0, posterior().scale)
    guide = HypernetGuide(PerCondition())
    truth = 0.5 * (2.0 / prior.scale.detach()).square().expand(prior.event_shape).sum()
    assert guide.audit(prior, 2).value == pytest.approx(float(truth))
    assert guide.condition(2).audit(prior).value == pytest.approx(float(truth))


def test_conditions_choose_the_distribution():
    posterior = ToyPosterior(small_net().weight_spec, num_conds=3)
    guide = HypernetGuide(posterior)
    z, eps = torch.randn(1, 2, dtype=DTYPE), torch.randn(1, 13, dtype=DTYPE)
    place = lambda q: q.place(z, eps).w  # noqa: E731
    torch.testing.assert_close(place(guide.distribution(2)), place(posterior(2)))
    torch.testing.assert_close(place(guide.condition(2).distribution()), place(posterior(2)))
    torch.testing.assert_close(place(guide.condition(2).distribution(1)), place(posterior(1)))
    torch.testing.assert_close(place(guide.distribution()), place(posterior()))
    assert not torch.allclose(place(posterior(1)), place(posterior(2)))
    assert {id(p) for p in guide.condition(1).parameters()} == {id(p) for p in guide.parameters()}


def test_the_condition_of_a_call_reaches_the_posterior():
    model, guide = regression(num_conds=2)
    x, y = data()
    loss = Trace_ELBO().differentiable_loss(model, guide, x, y, cond_id=1)
    loss.backward()
    assert guide.posterior.c.grad[0].abs().sum() == 0
    assert guide.posterior.c.grad[1].abs().sum() > 0


@pytest.mark.parametrize("local", [False, True])
def test_svi_trains_it_without_the_parameter_store(local):
    pyro.clear_param_store()
    with pyro.settings.context(module_local_params=local):
        model, guide = regression(num_data=12)
        before = {name: p.detach().clone() for name, p in guide.named_parameters()}
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO(num_particles=2, vectorize_particles=True))
        for _ in range(3):
            assert 0 < svi.step(*data()) < float("inf")
        assert list(pyro.get_param_store()) == []
    assert all((p != before[name]).any() for name, p in guide.named_parameters())
    fresh = regression()[1]
    fresh.load_state_dict(guide.state_dict())
    z, eps = torch.randn(1, 2, dtype=DTYPE), torch.randn(1, 13, dtype=DTYPE)
    torch.testing.assert_close(fresh.distribution().place(z, eps).w, guide.distribution().place(z, eps).w)


def test_learned_parameters_of_the_model_are_stated_too():
    model, guide = regression()
    model.likelihood.log_scale = torch.nn.Parameter(model.likelihood.log_scale)
    with poutine.trace(param_only=True) as seen:
        Trace_ELBO().loss(model, guide, *data())
    assert "model$$$likelihood.log_scale" in seen.trace.nodes
    assert "guide$$$posterior.W1" in seen.trace.nodes


def test_models_and_guides_can_be_drawn():
    """Pyro's inspection reads name and constraint of each parameter."""
    model, _ = regression()
    model.likelihood.log_scale = torch.nn.Parameter(model.likelihood.log_scale)
    assert get_model_relations(model, data())["param_constraint"] == {"model$$$likelihood.log_scale": "Real()"}
    explicit = MeanFieldGuide(small_net().double())
    names = {f"guide$$${name}" for name, _ in explicit.named_parameters()}
    assert set(get_model_relations(explicit, data())["param_constraint"]) == names


def test_a_loss_that_asks_for_a_closed_form_is_refused():
    model, guide = regression()
    with pytest.raises(ValueError, match="Use Trace_ELBO, or ImplicitELBO"):
        TraceMeanField_ELBO().loss(model, guide, *data())
    site = ImplicitSite(guide.distribution(), LIVI(), (3,))
    for p in (pyro.distributions.Independent(site, 1), pyro.distributions.Independent(site, 0)):
        with pytest.raises(ValueError, match="Use Trace_ELBO, or ImplicitELBO"):
            torch.distributions.kl_divergence(p, p)


@pytest.mark.parametrize("loss", [RenyiELBO(alpha=0.5, num_particles=2), TraceTailAdaptive_ELBO(num_particles=2)])
@pytest.mark.parametrize("vectorize", [False, True])
def test_losses_that_weight_particles_are_refused(loss, vectorize):
    model, guide = regression()
    loss = type(loss)(num_particles=2, vectorize_particles=vectorize, max_plate_nesting=1)
    with pytest.raises(ValueError, match="use Trace_ELBO or ImplicitELBO"):
        loss.loss_and_grads(model, guide, *data())


def test_wake_sleep_is_refused():
    model, guide = regression()
    with pytest.raises(ValueError, match="own draws only: use Trace_ELBO"):
        ReweightedWakeSleep(num_particles=2, vectorize_particles=True, max_plate_nesting=1).loss_and_grads(
            model, guide, *data()
        )


def test_the_renyi_bound_is_right_with_a_density_per_draw():
    """Against the bound written by hand from the same draws, value and gradient."""
    model, guide = regression()
    estimator = ImportanceSandwich(num_proposals=4, control_variate=False)
    guide.estimator = estimator
    guide.posterior = ReplayedPosterior(guide.weight_spec).fill(4)
    x, y = data()
    torch.manual_seed(1)
    loss = RenyiELBO(alpha=0.5, num_particles=4, vectorize_particles=True, max_plate_nesting=1)
    value = loss.loss_and_grads(model, guide, x, y)
    torch.manual_seed(1)
    q = guide.posterior.fill(4)()
    draw = q.draw(4)
    ratio = model.log_likelihood(draw.w, x, y) + model.prior.log_prob(draw.w) - estimator.log_density(q, draw)
    bound = -2 * (torch.logsumexp(0.5 * ratio, 0) - torch.log(torch.tensor(4.0)))
    assert value == pytest.approx(bound.item(), rel=1e-9)
    grad = torch.cat([p.grad.flatten() for p in guide.parameters()])
    torch.testing.assert_close(grad, gradients_of(bound, guide))


@pytest.mark.parametrize("family", EXPLICIT)
def test_explicit_guides_have_exact_densities(family):
    """At any weights, so that importance weighting and wake-sleep losses are right with them."""
    model, _ = regression()
    guide = explicit(family)
    x, y = data()
    w = guide.distribution().draw(3).w.detach()
    trace = poutine.trace(poutine.replay(guide, trace=_trace_of(w[0]))).get_trace(x, y)
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["weights"]["log_prob"], guide.distribution().log_prob(w[0]))
    for loss in (
        RenyiELBO(alpha=0.5, num_particles=2, vectorize_particles=True, max_plate_nesting=1),
        ReweightedWakeSleep(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
    ):
        loss.loss_and_grads(model, guide, x, y)
        assert all(torch.isfinite(p.grad).all() for p in guide.parameters())


def _trace_of(w):
    trace = poutine.Trace()
    trace.add_node("weights", type="sample", name="weights", value=w, is_observed=False, infer={})
    return trace


@pytest.mark.parametrize("family", ["mean field", "low rank"])
def test_mean_field_loss_uses_the_closed_form_of_explicit_guides(family):
    model, _ = regression()
    guide = explicit(family)
    x, y = data()
    torch.manual_seed(5)
    loss = TraceMeanField_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    value = loss.differentiable_loss(model, guide, x, y)
    torch.manual_seed(5)
    q = guide.distribution()
    likelihood = model.log_likelihood(q.draw(3).w, x, y).mean()
    expected = ClosedForm().estimate(q, model.prior).surrogate - likelihood
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients_of(value, guide), gradients_of(expected, guide))


def test_a_point_mass_learns_the_maximum_a_posteriori():
    model, _ = regression()
    guide = HypernetGuide(DiracPosterior(small_net().weight_spec).to(DTYPE))
    x, y = data()
    value = Trace_ELBO().differentiable_loss(model, guide, x, y)
    w = guide.distribution().loc
    expected = -model.log_likelihood(w.unsqueeze(0), x, y).squeeze() - model.prior.log_prob(w)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients_of(value, guide), gradients_of(expected, guide))


def test_monte_carlo_is_an_estimator_for_explicit_guides():
    model, _ = regression()
    guide = MeanFieldGuide(small_net(), MonteCarlo()).to(DTYPE)
    loss = Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    loss.differentiable_loss(model, guide, *data()).backward()
    assert all(p.grad is not None for p in guide.parameters())


def test_wrong_parts_are_refused():
    with pytest.raises(TypeError, match="posterior: expected"):
        HypernetGuide(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="estimator: expected"):
        HypernetGuide(ToyPosterior(small_net().weight_spec), estimator="livi")
    with pytest.raises(TypeError, match="net: expected"):
        MeanFieldGuide(3)
