"""Posteriors given by chains: predictions, export, files, densities fitted to them, and the prior of a next task."""

import json
import math

import pytest
import torch
from torch import nn

from bayeshnet.distributions import FanInGaussian, LowRankGaussian, MeanFieldGaussian, Mixture
from bayeshnet.guides import BayesianModel, Categorical, Gaussian
from bayeshnet.inference import (
    BatchedHMC,
    Predictive,
    SampledPosterior,
    fit_density,
    reference_posterior,
)
from bayeshnet.mnets import MLP, ModuleMainNet
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

NOISE = 0.4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Regression:
    """Bayesian linear regression with two tasks, whose posteriors are known."""

    def __init__(self):
        self.x = torch.randn(24, 3, dtype=DTYPE, generator=generator(1))
        noise = NOISE * torch.randn(24, 1, dtype=DTYPE, generator=generator(2))
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=DTYPE) + 0.3 + noise
        self.net = ModuleMainNet(nn.Linear(3, 1))
        self.prior = FanInGaussian(self.net.weight_spec, last_gain=2.0, bias=0.7, dtype=DTYPE)

    def exact(self, count):
        """Mean and covariance given the first examples."""
        design = torch.cat([self.x[:count], torch.ones(count, 1, dtype=DTYPE)], 1)
        covariance = torch.linalg.inv(design.T @ design / NOISE**2 + (1 / self.prior.variance).diag())
        return covariance @ design.T @ self.y[:count, 0] / NOISE**2, covariance

    def sampled(self, prior, part, **options):
        model = BayesianModel(self.net, prior, Gaussian(torch.tensor(NOISE, dtype=DTYPE)))
        arguments = {"num_samples": 100, "num_warmup": 80, "num_chains": 60, "generator": generator(3), **options}
        sampler = BatchedHMC(max_steps=16, start_steps=50)
        return model, reference_posterior(model, self.x[part], self.y[part], sampler=sampler, **arguments)


@pytest.fixture(scope="module")
def problem():
    return Regression()


@pytest.fixture(scope="module")
def found(problem):
    return problem.sampled(problem.prior, slice(0, 12))


def near(mean, covariance, exact, count):
    """Check moments of ``count`` independent draws against the exact ones."""
    std = exact[1].diagonal().sqrt()
    assert ((mean - exact[0]).abs() < 4.5 * std / math.sqrt(count)).all()
    ratio = covariance / std / std.unsqueeze(1)
    correlation = exact[1] / std / std.unsqueeze(1)
    torch.testing.assert_close(ratio, correlation, atol=8 / math.sqrt(count), rtol=0)


def test_it_is_the_conjugate_posterior(problem, found):
    _, posterior = found
    assert posterior.samples.shape == (6000, 4)
    assert posterior.num_chains == 60
    assert posterior.worst_r_hat < 1.01
    assert posterior.divergences == 0
    effective = posterior.effective.min().item()
    assert effective > 1500
    near(posterior.samples.mean(0), posterior.samples.T.cov(), problem.exact(12), effective)
    assert torch.equal(posterior.flat(), posterior.samples)
    assert posterior.sample(7).shape == (7, 4)


def test_its_predictions_are_the_closed_form(problem, found):
    model, posterior = found
    mean, covariance = problem.exact(12)
    design = torch.cat([problem.x, torch.ones(24, 1, dtype=DTYPE)], 1)
    result = Predictive(posterior, problem.net, model.likelihood, num_samples=6000)(problem.x)
    std = ((design @ covariance) * design).sum(1).sqrt()
    assert ((result.mean[:, 0] - design @ mean).abs() < 0.15 * std).all()
    torch.testing.assert_close(result.epistemic, std.square(), rtol=0.15, atol=0)


def test_convergence_of_outputs_is_judged_by_the_chains(problem, found):
    _, posterior = found
    found = posterior.convergence(problem.net, problem.x[:5], chunk=1000)
    assert found.r_hat.shape == found.effective.shape == (5, 1)
    assert found.worst_r_hat < 1.02
    assert found.least_effective > 1000
    apart = posterior.samples.clone()
    apart[: len(apart) // 2] += 3.0
    worse = SampledPosterior(apart, posterior.weight_spec, posterior.num_chains).convergence(problem.net, problem.x)
    assert worse.worst_r_hat > 1.5


def test_units_in_another_order_leave_the_outputs_alone():
    """Chains whose hidden units are exchanged disagree about weights, and agree about outputs and probabilities."""
    net = MLP(2, 3, (2,), nn.Tanh(), no_weights=True, verbose=False)
    base = torch.randn(40, net.weight_spec.numel, generator=generator()) * 0.1 + torch.linspace(-2, 2, 15)
    named = net.weight_spec.unflatten(base)
    first, bias, last, rest = named.values()
    swapped = net.weight_spec.flatten([first.flip(1), bias.flip(1), last.flip(2), rest])
    posterior = SampledPosterior(torch.cat([base, swapped]), net.weight_spec, num_chains=2)
    x = torch.randn(6, 2, generator=generator(1))
    assert posterior.worst_r_hat > 3
    assert posterior.convergence(net, x).worst_r_hat < 1.3
    assert posterior.convergence(net, x, Categorical()).r_hat.shape == (6, 3)


@pytest.mark.parametrize("family", ["full", "auto"])
def test_its_density_is_the_prior_of_the_next_task(problem, found, family):
    """The posterior after the second task is that given all data at once."""
    _, posterior = found
    prior = posterior.fitted(family)
    assert isinstance(prior, LowRankGaussian)
    mean, covariance = problem.exact(12)
    near(prior.mean, prior.factor @ prior.factor.T + prior.diag.diag(), (mean, covariance), 2000)
    _, both = problem.sampled(prior, slice(12, 24))
    near(both.samples.mean(0), both.samples.T.cov(), problem.exact(24), 1000)
    if family == "auto":
        return
    # It is not the posterior of the second task alone.
    _, alone = problem.sampled(problem.prior, slice(12, 24))
    wide = alone.samples.var(0) / both.samples.var(0)
    assert wide.min() > 1.2


def test_a_full_density_has_the_moments_of_the_draws():
    draws = torch.randn(3, 4000, 4, dtype=DTYPE, generator=generator()) @ torch.randn(
        4, 4, dtype=DTYPE, generator=generator(1)
    )
    density = fit_density(draws, "full")
    flat = draws.flatten(0, 1)
    torch.testing.assert_close(density.mean, flat.mean(0))
    covariance = density.factor @ density.factor.T + density.diag.diag()
    torch.testing.assert_close(covariance, flat.T.cov(), rtol=0.02, atol=0.02)
    wanted = torch.distributions.MultivariateNormal(flat.mean(0), covariance).log_prob(flat[:9])
    torch.testing.assert_close(density.log_prob(flat[:9]), wanted)


def test_few_draws_of_many_weights_have_a_proper_density():
    draws = torch.randn(2, 10, 50, dtype=DTYPE, generator=generator())
    for family in ("mean_field", "low_rank", "full", "mixture", "auto"):
        density = fit_density(draws, family)
        torch.testing.assert_close(density.mean, draws.mean((0, 1)))
        assert density.log_prob(draws[0]).isfinite().all()
    full = fit_density(draws, "full")
    correlation = full.factor @ full.factor.T + full.diag.diag()
    off = correlation - correlation.diag().diag()
    assert off.abs().mean() < 0.5 * (draws.flatten(0, 1).T.corrcoef().triu(1).abs().sum() / (25 * 49))


def test_a_low_rank_density_finds_factors():
    """Draws of one factor and noise: variances and correlations are found again."""
    loading = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0], dtype=DTYPE)
    noise = torch.randn(4, 5000, 5, dtype=DTYPE, generator=generator(1))
    draws = torch.randn(4, 5000, 1, dtype=DTYPE, generator=generator()) * loading + 0.5 * noise
    density = fit_density(draws, "low_rank", rank=1)
    flat = draws.flatten(0, 1)
    torch.testing.assert_close(density.variance, flat.var(0), rtol=1e-3, atol=0)
    covariance = density.factor @ density.factor.T
    std = density.variance.sqrt()
    wanted = torch.outer(loading, loading) / std / std.unsqueeze(1)
    off = ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close((covariance / std / std.unsqueeze(1))[off], wanted[off], atol=0.15, rtol=0)


def test_the_likelier_density_of_held_out_draws_is_chosen():
    noise = torch.randn(4, 400, 2, dtype=DTYPE, generator=generator())
    assert isinstance(fit_density(noise), (MeanFieldGaussian, LowRankGaussian))
    apart = noise + torch.tensor([-30.0, -10.0, 10.0, 30.0], dtype=DTYPE)[:, None, None]
    found = fit_density(apart)
    assert isinstance(found, Mixture)
    torch.testing.assert_close(found.mean, apart.mean((0, 1)))
    assert type(fit_density(apart, "mean_field")) is MeanFieldGaussian


def test_it_is_saved_and_loaded(tmp_path, problem, found):
    _, posterior = found
    posterior.save(tmp_path / "a")
    loaded = SampledPosterior.load(tmp_path / "a")
    assert torch.equal(loaded.samples, posterior.samples)
    assert loaded.samples.dtype == DTYPE
    assert loaded.weight_spec == posterior.weight_spec
    names = ("num_chains", "divergences", "acceptance", "gradients", "seconds")
    assert [getattr(loaded, n) for n in names] == [getattr(posterior, n) for n in names]
    first = Predictive(posterior, problem.net, num_samples=50)(problem.x, generator=generator())
    second = Predictive(loaded, problem.net, num_samples=50)(problem.x, generator=generator())
    assert torch.equal(first.mean, second.mean)
    with pytest.raises(FileNotFoundError, match=r"^path: expected a checkpoint"):
        SampledPosterior.load(tmp_path / "b")


def test_files_of_something_else_are_refused(tmp_path, found):
    from bayeshnet.inference import save_checkpoint

    _, posterior = found
    save_checkpoint(tmp_path / "a", posterior, {"kind": "another"})
    with pytest.raises(ValueError, match=r"^path: expected a saved SampledPosterior"):
        SampledPosterior.load(tmp_path / "a")
    posterior.save(tmp_path / "a")
    body = json.loads((tmp_path / "a.json").read_text())
    body["record"]["num_chains"] = 2
    (tmp_path / "a.json").write_text(json.dumps(body))
    with pytest.raises(ValueError, match=r"^path: expected an undamaged checkpoint"):
        SampledPosterior.load(tmp_path / "a")


def test_draws_leave_as_plain_states():
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).eval()
    spec = WeightSpec.of(module)
    samples = torch.randn(6, spec.numel, generator=generator())
    posterior = SampledPosterior(samples, spec, num_chains=2)
    before = {name: t.clone() for name, t in module.state_dict().items()}
    states = posterior.state_dicts(module)
    x = torch.randn(5, 2)
    net = ModuleMainNet(module)
    assert len(states) == 6
    for state, weights in zip(states, samples, strict=True):
        fresh = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)).eval()
        fresh.load_state_dict(state)
        torch.testing.assert_close(fresh(x), net(x, weights=spec.split(weights)))
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    some = posterior.state_dicts(module, 2)
    assert torch.equal(some[0]["0.weight"], states[0]["0.weight"])
    assert torch.equal(some[1]["3.bias"], states[5]["3.bias"])
    with pytest.raises(ValueError, match=r"^module: expected a module with parameters"):
        posterior.state_dicts(nn.Linear(2, 1))


def test_a_specification_of_shapes_exports_by_order():
    posterior = SampledPosterior(torch.arange(6.0).reshape(2, 3), WeightSpec.of_shapes([[1, 2], [1]]))
    state = posterior.state_dicts(nn.Linear(2, 1))[1]
    assert state["weight"].tolist() == [[3.0, 4.0]]
    assert state["bias"].tolist() == [5.0]


@pytest.mark.slow
def test_it_agrees_with_the_no_u_turn_sampler():
    """A small logistic regression, whose posterior has no closed form."""
    x = torch.randn(30, 2, dtype=DTYPE, generator=generator(1))
    y = (x[:, 0] - x[:, 1] + 0.5 * torch.randn(30, dtype=DTYPE, generator=generator(2)) > 0).long()
    net = ModuleMainNet(nn.Linear(2, 2))
    model = BayesianModel(net, FanInGaussian(net.weight_spec, last_gain=3.0, bias=1.0, dtype=DTYPE), Categorical())
    slow = reference_posterior(model, x, y, num_samples=400, num_warmup=200, num_chains=2, generator=generator())
    fast = reference_posterior(model, x, y, num_samples=400, num_warmup=200, sampler="batched", generator=generator())
    one, two = slow.samples["weights"], fast.samples
    error = (one.var(0) / slow.effective["weights"]).sqrt()
    assert ((one.mean(0) - two.mean(0)).abs() < 4.5 * error).all()
    torch.testing.assert_close(one.std(0), two.std(0), rtol=0.2, atol=0)
    probs = [
        Predictive(posterior, net, model.likelihood, num_samples=800)(x).mean
        for posterior in (slow.posterior(net.weight_spec), fast)
    ]
    torch.testing.assert_close(*probs, atol=0.03, rtol=0)


def test_a_prior_need_not_know_its_variance(problem):
    """Of a prior that is a shifted Gaussian, written as a transform, torch knows no variance."""
    deviation, shift = problem.prior.variance.sqrt(), 0.5
    moved = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(torch.zeros_like(deviation), deviation),
        [torch.distributions.AffineTransform(shift, 1.0)],
    )
    _, sampled = problem.sampled(torch.distributions.Independent(moved, 1), slice(0, 12))
    design = torch.cat([problem.x[:12], torch.ones(12, 1, dtype=DTYPE)], 1)
    exact = problem.exact(12)[1]
    mean = exact @ (design.T @ problem.y[:12, 0] / NOISE**2 + shift / deviation**2)
    error = (exact.diagonal() / 2000).sqrt()
    assert ((sampled.samples.mean(0) - mean).abs() < 5 * error).all()
    torch.testing.assert_close(sampled.samples.T.cov(), exact, rtol=0, atol=0.15 * float(exact.diagonal().max()))


def test_a_prior_that_cannot_be_evaluated_is_refused(problem):
    prior = SampledPosterior(torch.randn(6, 4, dtype=DTYPE, generator=generator()), problem.net.weight_spec)
    model = BayesianModel(problem.net, prior(), Gaussian(0.1))
    with pytest.raises(TypeError, match=r"^model: expected a prior with a density.*fitted\(\)"):
        reference_posterior(model, problem.x, problem.y, sampler="batched")


def test_what_does_not_fit_is_refused(problem):
    model = BayesianModel(problem.net, problem.prior, Gaussian(0.1))
    x, y = problem.x, problem.y
    cases = [
        (lambda: reference_posterior(lambda: None, x, y, sampler="batched"), "^model: expected a BayesianModel"),
        (lambda: reference_posterior(model, x, sampler="batched"), "^args: expected x and y"),
        (lambda: reference_posterior(model, x, y, sampler="hmc"), "^sampler: expected 'nuts'"),
        (lambda: reference_posterior(model, x, y, sampler=3), "^sampler: expected 'nuts'"),
        (lambda: reference_posterior(model, x, y, sampler=BatchedHMC(), nuts={}), "^nuts: expected None"),
        (lambda: SampledPosterior(torch.zeros(5, 4), problem.net.weight_spec, 2), "^num_chains: expected a divisor"),
        (lambda: fit_density(torch.zeros(1, 1, 2)), "^chains: expected at least two draws"),
        (lambda: fit_density(torch.zeros(3, 1, 2), "mixture"), "^chains: expected at least two draws of each"),
        (lambda: fit_density(torch.zeros(3, 5, 2), "cube"), "^family: expected"),
    ]
    for call, message in cases:
        with pytest.raises((ValueError, TypeError), match=message):
            call()


def test_arguments_may_be_given_by_name(problem):
    model = BayesianModel(problem.net, problem.prior, Gaussian(torch.tensor(NOISE, dtype=DTYPE)))
    options = {"num_samples": 4, "num_chains": 3, "sampler": BatchedHMC(max_steps=4, start_steps=5)}
    one = reference_posterior(model, problem.x, y=problem.y, generator=generator(), **options)
    two = reference_posterior(model, problem.x, problem.y, generator=generator(), **options)
    assert torch.equal(one.samples, two.samples)
    assert one.samples.shape == (12, 4)
