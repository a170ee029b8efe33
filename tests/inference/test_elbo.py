"""ImplicitELBO against Trace_ELBO and a loss written by hand, direct against traced evaluation, and its refusals."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from bayeshnet.distributions import DiracPosterior
from bayeshnet.estimators import LIVI, ClosedForm, ImportanceSandwich, KLEstimate, KLEstimator
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide, MeanFieldGuide
from bayeshnet.inference import ImplicitELBO
from bayeshnet.mnets import MLP, ModuleMainNet, OutputView
from tests.support.guide_toys import ToyPosterior, classification, data, gradients_of, regression, small_net
from tests.support.oracles import DTYPE


def traced(model):
    """Return the same program as a plain function, which is evaluated from traces."""
    return lambda *args, **kwargs: model(*args, **kwargs)


@pytest.mark.parametrize("make", [regression, classification])
@pytest.mark.parametrize("nesting", [1, float("inf")])
def test_direct_and_traced_evaluation_agree(make, nesting):
    model, guide = make(num_data=48)
    x, y = data(classes=3 if make is classification else None)
    found = []
    for program in (model, traced(model)):
        elbo = ImplicitELBO(LIVI(), num_particles=5, num_samples=7, beta=0.3, max_plate_nesting=nesting)
        if program is not model and nesting != 1:
            elbo.terms(program, guide, x, y)  # finds the plates
        torch.manual_seed(2)
        terms = elbo.terms(program, guide, x, y)
        assert terms.weights.shape == (5, guide.weight_spec.numel)
        found.append((terms.loss, terms.nll, terms.kl, terms.analytic, gradients_of(terms.loss, guide)))
    torch.testing.assert_close(*found)


def test_it_is_what_is_written_by_hand():
    model, guide = regression(num_data=48)
    x, y = data()
    torch.manual_seed(2)
    elbo = ImplicitELBO(LIVI(), num_particles=5, num_samples=7, beta=0.3)
    terms = elbo.terms(model, guide, x, y)
    torch.manual_seed(2)
    q = guide.distribution()
    nll = -model.log_likelihood(q.draw(5).w, x, y).mean()
    estimate = LIVI().estimate(q, model.prior, 7)
    torch.testing.assert_close(terms.nll, nll.detach())
    torch.testing.assert_close(terms.kl, estimate.value)
    torch.testing.assert_close(terms.kl, terms.analytic - terms.mutual_information)
    torch.testing.assert_close(terms.loss.detach(), nll.detach() + 0.3 * estimate.value)
    torch.testing.assert_close(gradients_of(terms.loss, guide), gradients_of(nll + 0.3 * estimate.surrogate, guide))
    assert elbo.last.loss == terms.loss
    assert not elbo.last.loss.requires_grad


def test_particles_one_by_one_give_the_same_mean():
    model, guide = regression(num_data=24)
    x, y = data()
    looped = ImplicitELBO(ClosedForm(), num_particles=4, vectorize_particles=False)
    guide.posterior.linear = True
    torch.manual_seed(0)
    terms = looped.terms(traced(model), guide, x, y)
    torch.manual_seed(0)
    q = guide.distribution()
    nll = -torch.stack([model.log_likelihood(q.draw(1).w, x, y) for _ in range(4)]).mean()
    torch.testing.assert_close(terms.loss, nll + ClosedForm().estimate(q, model.prior).surrogate)
    assert terms.weights.shape[0] == 4


def repeated(elbo, model, guide, seeds):
    """Return value and gradient of many evaluations, one per row."""
    rows = []
    for seed in seeds:
        torch.manual_seed(seed)
        loss = elbo.differentiable_loss(model, guide, *data())
        rows.append(torch.cat([loss.detach().reshape(1), gradients_of(loss, guide)]))
    return torch.stack(rows)


@pytest.mark.parametrize("noise", [0.5, 100.0])
@pytest.mark.parametrize("linear", [True, False])
def test_it_equals_trace_elbo_in_expectation_with_less_variance(linear, noise):
    """Means over many particles agree within their errors, and gradients have less variance.

    With little noise the likelihood, which both losses share, gives most of the variance; with much of it the KL is
    nearly all of the loss. The gradient of sigma, the last one, improves most.
    """
    model, guide = regression(num_data=24, linear=linear)
    model.likelihood.log_scale.fill_(math.log(noise))
    guide.estimator = LIVI()
    trace = Trace_ELBO(num_particles=64, vectorize_particles=True, max_plate_nesting=1)
    theirs = repeated(trace, model, guide, range(1000, 1050))
    ours = repeated(ImplicitELBO(num_particles=64, num_samples=64), model, guide, range(50))
    gap, error = ours.mean(0) - theirs.mean(0), ((ours.var(0) + theirs.var(0)) / 50).sqrt()
    assert (gap.abs() < 5 * error + 1e-9).all()
    total, sigma = ours[:, 1:].var(0).sum() / theirs[:, 1:].var(0).sum(), ours[:, -1].var() / theirs[:, -1].var()
    assert total < 1.15
    assert sigma < (0.7 if noise < 1 else 0.01)


def test_beta_tempers_the_kl_alone():
    model, guide = regression(linear=True)
    x, y = data()
    losses = []
    for beta in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        losses.append(ImplicitELBO(ClosedForm(), num_particles=3, beta=beta).terms(model, guide, x, y))
    torch.testing.assert_close(losses[0].loss.detach(), losses[0].nll)
    torch.testing.assert_close(losses[2].loss - losses[1].loss, losses[1].loss - losses[0].loss)
    torch.testing.assert_close((losses[1].loss - losses[0].loss).detach(), losses[1].kl)


def test_a_generator_fixes_all_draws_and_leaves_the_global_one_alone():
    model, guide = regression()
    x, y = data()
    for program in (model, traced(model)):
        state = torch.get_rng_state()
        values = []
        for _ in range(2):
            elbo = ImplicitELBO(num_particles=3, generator=torch.Generator().manual_seed(5), max_plate_nesting=1)
            values.append(elbo.loss(program, guide, x, y))
        assert values[0] == values[1]
        assert torch.equal(state, torch.get_rng_state())


class Valueless(KLEstimator):
    """An estimator with a gradient and no value, such as those of the score."""

    def _estimate(self, q, p, num_samples, generator):
        return KLEstimate(None, q.draw(2, generator).w.square().sum())


def test_an_estimator_without_value_makes_none_up():
    model, guide = regression()
    terms = ImplicitELBO(Valueless(), num_particles=2).terms(model, guide, *data())
    assert terms.kl is None
    torch.testing.assert_close(terms.loss.detach(), terms.nll)
    assert gradients_of(terms.loss - terms.nll, guide).abs().sum() > 0


def test_a_point_mass_has_no_kl():
    model, _ = regression()
    guide = HypernetGuide(DiracPosterior(small_net().weight_spec).to(DTYPE))
    terms = ImplicitELBO().terms(model, guide, *data())
    assert terms.kl is None
    w = guide.distribution().loc
    expected = -model.log_likelihood(w[None], *data()).sum() - model.prior.log_prob(w)
    torch.testing.assert_close(gradients_of(terms.loss, guide), gradients_of(expected, guide))


@pytest.mark.parametrize("local", [False, True])
def test_svi_runs_it(local):
    with pyro.settings.context(module_local_params=local):
        pyro.clear_param_store()
        model, guide = regression(num_data=12)
        before = [p.detach().clone() for p in guide.parameters()]
        svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.02}), ImplicitELBO(num_particles=4))
        losses = [svi.step(*data()) for _ in range(60)]
        assert sum(losses[-10:]) < sum(losses[:10])
        assert all((a != b).any() for a, b in zip(before, guide.parameters(), strict=True))
        assert list(pyro.get_param_store()) == []


def test_it_is_a_module_for_torch_optimizers():
    model, guide = regression()
    loss = ImplicitELBO(num_particles=2)(model, guide)
    loss(*data()).backward()
    assert {id(p) for p in guide.parameters()} <= {id(p) for p in loss.parameters()}
    assert all(p.grad is not None for p in guide.parameters())


class Wider(torch.nn.Module):
    """A program with another latent beside the weights: the precision of the noise."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, y=None):
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros((), dtype=DTYPE), 1.0))
        w = pyro.sample("weights", dist.Normal(torch.zeros(13, dtype=DTYPE), 1.0).to_event(1))
        batch = w.shape[:-1]
        out = self.model.outputs(w.reshape(-1, 13), x).reshape(*batch[:-1], len(x), 1)
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("y", dist.Normal(out[..., 0], scale), obs=y[:, 0])


class WiderGuide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.tensor(-0.5, dtype=DTYPE))
        self.weights = HypernetGuide(ToyPosterior(small_net().weight_spec), LIVI())

    def forward(self, x, y=None):
        pyro.sample("scale", dist.LogNormal(self.loc, 0.3))
        return self.weights(x, y)


@pytest.mark.parametrize("vectorize", [False, True])
def test_other_latents_are_treated_by_their_densities(vectorize):
    """The bound of a program with another latent is that of Trace_ELBO on average."""
    model, guide = Wider(regression()[0]), WiderGuide()
    x, y = data()
    particles = 400 if vectorize else 10
    options = {"num_particles": particles, "vectorize_particles": vectorize, "max_plate_nesting": 1}
    with torch.no_grad():
        ours = [ImplicitELBO(num_samples=8, **options).loss(model, guide, x, y) for _ in range(8)]
        theirs = [Trace_ELBO(**options).loss(model, guide, x, y) for _ in range(8)]
    ours, theirs = torch.tensor(ours), torch.tensor(theirs)
    assert (ours.mean() - theirs.mean()).abs() < 4 * ((ours.var() + theirs.var()) / 8).sqrt()


def test_handlers_around_it_are_respected():
    model, guide = regression(linear=True)
    x, y = data()
    elbo = ImplicitELBO(ClosedForm(), num_particles=2, max_plate_nesting=1)
    torch.manual_seed(0)
    plain = elbo.terms(model, guide, x, y)
    torch.manual_seed(0)
    with poutine.scale(scale=0.5):
        half = elbo.terms(model, guide, x, y)
    torch.testing.assert_close(half.loss, 0.5 * plain.loss)
    torch.testing.assert_close(half.kl, 0.5 * plain.kl)


def test_guides_of_another_kind_are_refused():
    model, guide = regression()
    x, y = data()
    auto = AutoNormal(model)
    with pytest.raises(TypeError, match="Use HypernetGuide"):
        ImplicitELBO().loss(model, auto, x, y)
    pyro.clear_param_store()
    renamed = HypernetGuide(guide.posterior, name="other")
    with pytest.raises((ValueError, TypeError), match="site"), pytest.warns(UserWarning, match="Found"):
        ImplicitELBO().loss(model, renamed, x, y)
    with pytest.raises(TypeError, match="estimator: expected"):
        ImplicitELBO("livi")
    with pytest.raises(ValueError, match="num_particles"):
        ImplicitELBO(num_particles=0)
    with pytest.raises(ValueError, match="beta"):
        ImplicitELBO(beta=-1.0)


def test_families_and_estimators_are_one_argument_away():
    model, guide = regression()
    x, y = data()
    for other in (guide, MeanFieldGuide(small_net()).to(DTYPE)):
        assert torch.isfinite(ImplicitELBO(num_particles=2).terms(model, other, x, y).kl)
    for estimator in (LIVI(4), ImportanceSandwich(4, 4)):
        assert torch.isfinite(ImplicitELBO(estimator).terms(model, guide, x, y).kl)
    assert type(model) is BayesianModel


def test_further_inputs_join_the_batch_only_where_examples_are_known_to_be_independent():
    """A view of some outputs hides nothing of the network behind it."""
    nets = {
        MLP(n_in=2, n_out=3, hidden_layers=[4], no_weights=True, verbose=False): True,
        MLP(n_in=2, n_out=3, hidden_layers=[4], no_weights=True, use_batch_norm=True, verbose=False): False,
        ModuleMainNet(torch.nn.Linear(2, 3)): False,
    }
    for net, alone in nets.items():
        guide = HypernetGuide(DiracPosterior(net.weight_spec))
        for seen in (net, OutputView(net, 1, 3)):
            prior = dist.Normal(torch.zeros(net.weight_spec.numel), 1.0).to_event(1)
            model = BayesianModel(seen, prior, Categorical())
            given = (torch.randn(4, 2), torch.zeros(4).long())
            assert ImplicitELBO().evaluation(model, guide, given).joins_inputs == alone
            assert not ImplicitELBO(local_noise=True).evaluation(model, guide, given).joins_inputs


def test_sites_that_the_bound_cannot_treat_are_refused():
    """A mask, and another latent whose gradient needs a score function."""
    model, guide = regression()
    x, y = data()
    elbo = ImplicitELBO(LIVI(), num_samples=4)
    with pytest.raises(ValueError, match="guide site 'weights': expected no mask"):
        elbo.terms(traced(model), poutine.mask(guide, mask=torch.tensor(True)), x, y)

    def counted(x, y):
        pyro.sample("count", dist.Poisson(torch.tensor(2.0, dtype=DTYPE)))
        return model(x, y)

    def counting(x, y):
        pyro.sample("count", dist.Poisson(torch.tensor(3.0, dtype=DTYPE)))
        return guide(x, y)

    with pytest.raises(ValueError, match="guide site 'count': expected a reparameterized distribution"):
        elbo.terms(counted, counting, x, y)
