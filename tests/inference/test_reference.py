"""The sampler against a known posterior, its diagnostics, and distances between samples."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayeshnet.guides import BayesianModel, Gaussian
from bayeshnet.inference import DrawnPosterior, Predictive, reference_posterior
from bayeshnet.inference.reference import effective_size, split_r_hat
from bayeshnet.metrics import compare_samples, predictive_total_variation
from bayeshnet.mnets import ModuleMainNet
from tests.support.guide_toys import data, small_net
from tests.support.oracles import DTYPE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def regression():
    net = ModuleMainNet(torch.nn.Linear(2, 1))
    prior = dist.Normal(torch.zeros(3, dtype=DTYPE), 2.0).to_event(1)
    model = BayesianModel(net, prior, Gaussian(torch.tensor(0.5, dtype=DTYPE)))
    x, y = data(N=15)
    design = torch.cat([x, torch.ones(15, 1, dtype=DTYPE)], 1)
    precision = design.T @ design / 0.25 + torch.eye(3, dtype=DTYPE) / 4
    covariance = torch.linalg.inv(precision)
    mean = (covariance @ design.T @ y / 0.25)[:, 0]
    found = reference_posterior(model, x, y, num_samples=120, num_warmup=60, num_chains=2, generator=generator())
    return model, found, mean, covariance, design


def test_it_samples_the_conjugate_posterior(regression):
    _, found, mean, covariance, _ = regression
    w = found.samples["weights"]
    assert w.shape == (240, 3)
    error = (covariance.diagonal() / found.effective["weights"]).sqrt()
    assert ((w.mean(0) - mean).abs() < 5 * error).all()
    torch.testing.assert_close(w.T.cov(), covariance, atol=0.4 * covariance.diagonal().max().item(), rtol=0)
    assert found.worst_r_hat < 1.1
    assert found.divergences == 0
    assert torch.equal(found.flat(), w)


def test_its_predictions_are_the_closed_form(regression):
    model, found, mean, covariance, design = regression
    predictive = Predictive(found.posterior(model.weight_spec), model.net, model.likelihood, num_samples=240)
    result = predictive(design[:, :2])
    torch.testing.assert_close(result.mean[:, 0], design @ mean, atol=0.1, rtol=0)
    variance = ((design @ covariance) * design).sum(1)
    torch.testing.assert_close(result.epistemic, variance, rtol=0.5, atol=0)
    torch.testing.assert_close(result.aleatoric, torch.full((15,), 0.25, dtype=DTYPE))


def test_a_generator_fixes_the_samples():
    def model():
        return pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    state = torch.get_rng_state()
    one, two = (reference_posterior(model, num_samples=20, num_warmup=10, generator=generator(1)) for _ in range(2))
    assert torch.equal(one.samples["x"], two.samples["x"])
    assert torch.equal(state, torch.get_rng_state())


def test_effective_size_of_known_chains():
    gen = generator()
    white = torch.randn(4, 2000, 3, dtype=DTYPE, generator=gen)
    torch.testing.assert_close(effective_size(white), torch.full((3,), 8000.0, dtype=DTYPE), rtol=0.15, atol=0)
    slow = torch.zeros(4, 4000, dtype=DTYPE)
    for t in range(1, 4000):
        slow[:, t] = 0.9 * slow[:, t - 1] + torch.randn(4, dtype=DTYPE, generator=gen)
    assert effective_size(slow).item() == pytest.approx(16000 * (1 - 0.9) / (1 + 0.9), rel=0.3)


def test_r_hat_sees_chains_that_disagree():
    white = torch.randn(2, 1000, dtype=DTYPE, generator=generator())
    assert split_r_hat(white).item() == pytest.approx(1.0, abs=0.01)
    apart = white + torch.tensor([[0.0], [3.0]], dtype=DTYPE)
    assert split_r_hat(apart) > 1.5
    drifting = white + torch.linspace(0, 3, 1000, dtype=DTYPE)
    assert split_r_hat(drifting) > 1.1
    assert torch.isnan(split_r_hat(white[:, :3]))


def test_drawn_posteriors_repeat_a_sample_only_when_they_must():
    spec = small_net().weight_spec
    samples = torch.arange(6.0).unsqueeze(1).expand(6, spec.numel)
    posterior = DrawnPosterior(samples, spec)
    assert posterior.draw(6, generator()).w[:, 0].sort().values.tolist() == [0, 1, 2, 3, 4, 5]
    assert posterior.draw(12).w[:, 0].sort().values.tolist() == [i for i in range(6) for _ in range(2)]
    assert list(posterior.state_dict()) == ["samples"]
    with pytest.raises(ValueError, match="samples: expected"):
        DrawnPosterior(samples[:, :3], spec)


def test_agreement_tells_same_from_shifted_and_wider():
    gen = generator()
    x, y = (torch.randn(2000, 3, dtype=DTYPE, generator=gen) for _ in range(2))
    same, other = compare_samples(x, y, gen), compare_samples(2 * x + 1, y, gen)
    assert same.sliced_wasserstein < 0.15 < other.sliced_wasserstein
    assert abs(same.mmd) < 0.01 < other.mmd
    assert same.mean_error < 0.1
    assert other.mean_error == pytest.approx(1.0, abs=0.15)
    assert other.std_ratio == pytest.approx((2.0, 2.0), abs=0.2)
    with pytest.raises(ValueError, match="samples: expected"):
        compare_samples(x[:, :2], y)


def test_total_variation():
    p = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    q = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    assert predictive_total_variation(p, q).item() == pytest.approx((0.3 + 1.0) / 2)
    with pytest.raises(ValueError, match="probs: expected"):
        predictive_total_variation(p, q[:1])


def test_a_site_that_does_not_exist_is_named(regression):
    model, found, *_ = regression
    with pytest.raises(ValueError, match="one of weights"):
        found.posterior(model.weight_spec, site="w")


def test_few_samples_have_no_diagnostics_of_convergence():
    found = reference_posterior(lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), num_samples=3, num_warmup=1)
    assert found.samples["x"].shape == (3,)
    assert bool(found.r_hat["x"].isnan())
    assert bool(found.effective["x"].isnan())
    with pytest.raises(ValueError, match=r"nuts: expected options among .*max_tree_depth.*, got depth"):
        reference_posterior(lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), nuts={"depth": 3})


def test_programs_that_cannot_be_sampled_are_refused_with_the_cause():
    def nowhere():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.factor("f", x * 0 - torch.inf)

    with pytest.raises(ValueError, match=r"^model: expected one with continuous unknowns") as caught:
        reference_posterior(lambda: pyro.sample("k", dist.Poisson(1.0)), num_samples=2)
    assert caught.value.__cause__ is not None
    with pytest.raises(ValueError, match=r"^model: expected a program whose unknowns have a finite density") as caught:
        reference_posterior(nowhere, num_samples=2)
    assert isinstance(caught.value.__cause__, ValueError)
