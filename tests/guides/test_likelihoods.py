"""Likelihoods against Pyro's distributions, and their uncertainties against moments of samples and mixtures."""

import pytest
import torch
from torch import nn

from bayeshnet.guides import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Poisson
from tests.support.oracles import DTYPE

S, N, C = 4, 5, 3
NOISE = torch.tensor([0.3, 1.0, 2.0], dtype=DTYPE)

CASES = {
    "categorical": (Categorical(), C, lambda: torch.randint(C, (N,))),
    "bernoulli": (Bernoulli(), C, lambda: torch.randint(2, (N, C)).to(DTYPE)),
    "gaussian": (Gaussian(0.7).to(DTYPE), C, lambda: torch.randn(N, C, dtype=DTYPE)),
    "gaussian per target": (Gaussian(NOISE, learn=True), C, lambda: torch.randn(N, C, dtype=DTYPE)),
    "heteroscedastic": (HeteroscedasticGaussian(0.1), 2 * C, lambda: torch.randn(N, C, dtype=DTYPE)),
    "poisson": (Poisson(), C, lambda: torch.randint(6, (N, C)).to(DTYPE)),
}
cases = pytest.mark.parametrize("case", CASES)


def outputs_of(case, *batch):
    return torch.randn(*batch, N, CASES[case][1], dtype=DTYPE, requires_grad=True)


@cases
@pytest.mark.parametrize("batch", [(), (S,), (2, S)])
def test_log_prob_is_that_of_the_distribution(case, batch):
    likelihood, _, draw = CASES[case]
    outputs, y = outputs_of(case, *batch), draw()
    dist = likelihood.distribution(outputs)
    assert dist.batch_shape == (*batch, N)
    ours, theirs = likelihood.log_prob(outputs, y), dist.log_prob(y)
    torch.testing.assert_close(ours, theirs)
    mix = torch.randn_like(ours)
    found = [torch.autograd.grad((mix * v).sum(), [outputs, *likelihood.parameters()]) for v in (ours, theirs)]
    torch.testing.assert_close(*found)


@cases
@pytest.mark.parametrize("batch", [(), (S,), (2, S)])
def test_sum_of_log_probs(case, batch):
    """Value and gradients of the sum, which some likelihoods compute in another way."""
    likelihood, _, draw = CASES[case]
    outputs, y = outputs_of(case, *batch), draw()
    ours, theirs = likelihood.log_prob_sum(outputs, y), likelihood.log_prob(outputs, y).sum()
    torch.testing.assert_close(ours, theirs)
    leaves = [outputs, *likelihood.parameters()]
    torch.testing.assert_close(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves))


def test_sum_of_log_probs_with_one_learned_noise():
    likelihood = Gaussian(0.7, learn=True).to(DTYPE)
    outputs, y = torch.randn(S, N, C, dtype=DTYPE, requires_grad=True), torch.randn(N, C, dtype=DTYPE)
    ours, theirs = likelihood.log_prob_sum(outputs, y), likelihood.distribution(outputs).log_prob(y).sum()
    leaves = [outputs, likelihood.log_scale]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves))


@pytest.mark.parametrize("kind", [Gaussian, Categorical])
def test_an_overridden_log_prob_changes_its_sum(kind):
    class Tempered(kind):
        def log_prob(self, outputs, y):
            return 0.5 * super().log_prob(outputs, y)

    y = torch.randint(C, (N,)) if kind is Categorical else torch.randn(N, C)
    outputs = torch.randn(S, N, C)
    torch.testing.assert_close(Tempered().log_prob_sum(outputs, y), 0.5 * kind().log_prob(outputs, y).sum())
    one = kind()
    one.log_prob = lambda outputs, y: torch.ones(S, N)
    assert float(one.log_prob_sum(outputs, y)) == S * N


@pytest.mark.parametrize("targets", [torch.float32, torch.float64])
def test_the_sum_is_of_the_type_of_outputs_and_targets(targets):
    likelihood, y = Gaussian(torch.tensor(0.7, dtype=torch.float64)), torch.randn(N, C, dtype=targets)
    assert likelihood.log_prob_sum(torch.randn(S, N, C), y).dtype == targets


@cases
def test_mean_and_noise_are_those_of_samples(case):
    likelihood, _, _ = CASES[case]
    outputs = outputs_of(case, S).detach()
    dist = likelihood.distribution(outputs)
    if case == "categorical":
        torch.testing.assert_close(likelihood.mean(outputs), dist.probs)
        torch.testing.assert_close(likelihood.noise(outputs), dist.entropy())
    elif case == "bernoulli":
        torch.testing.assert_close(likelihood.mean(outputs), dist.mean)
        torch.testing.assert_close(likelihood.noise(outputs), dist.base_dist.entropy().sum(-1))
    else:
        torch.testing.assert_close(likelihood.mean(outputs), dist.mean)
        torch.testing.assert_close(likelihood.noise(outputs).detach(), dist.variance.sum(-1).detach())


@cases
def test_total_is_that_of_the_mixture_over_draws(case):
    likelihood, _, _ = CASES[case]
    outputs = outputs_of(case, S).detach()
    means, noise = likelihood.mean(outputs), likelihood.noise(outputs).mean(0).detach()
    total = likelihood.total(means.mean(0), means.var(0, correction=0), noise)
    if likelihood.kind == "classification":
        p = means.mean(0)
        parts = -p * p.log() if case == "categorical" else -p * p.log() - (1 - p) * (1 - p).log()
        torch.testing.assert_close(total, parts.sum(-1))
    else:
        second = (likelihood.distribution(outputs).variance.detach() + means.square()).mean(0)
        torch.testing.assert_close(total, (second - means.mean(0).square()).sum(-1))
    assert (total >= noise - 1e-12).all()


def test_certain_classes_have_zero_uncertainty():
    sure = torch.tensor([[1.0, 0.0]])
    assert Categorical().total(sure, sure * 0, torch.zeros(1)) == 0
    assert Bernoulli().total(sure, sure * 0, torch.zeros(1)) == 0
    assert torch.isfinite(Categorical().noise(torch.tensor([[1e4, -1e4]]))).all()


@cases
def test_targets_of_another_shape_are_refused(case):
    likelihood, _, draw = CASES[case]
    y = draw()
    wrong = y.unsqueeze(-1) if y.ndim == 1 else y[:, 0]
    with pytest.raises(ValueError, match="y: expected"):
        likelihood.log_prob(outputs_of(case, S), wrong)
    with pytest.raises(ValueError, match="y: expected"):
        likelihood.log_prob_sum(outputs_of(case, S), wrong)


def test_classes_must_be_integers():
    with pytest.raises(ValueError, match="class indices"):
        Categorical().log_prob(torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("likelihood", [Categorical(), Bernoulli()])
def test_impossible_outcomes_have_no_entropy(likelihood):
    """Logits of -inf are those of classes that a mask rules out: 0 log 0 = 0, with finite gradients."""
    rest = torch.tensor([[[0.3, -1.2], [2.0, 0.5]]], dtype=torch.float64)
    outputs = torch.cat([rest, torch.full((1, 2, 2), -torch.inf, dtype=torch.float64)], -1).requires_grad_()
    expected = likelihood.noise(rest)
    torch.testing.assert_close(likelihood.noise(outputs), expected)
    mean = likelihood.mean(outputs)[0]
    torch.testing.assert_close(likelihood.total(mean, mean, expected), expected[0])
    (gradient,) = torch.autograd.grad(likelihood.noise(outputs).sum(), outputs)
    right = torch.autograd.functional.jacobian(lambda f: likelihood.noise(f).sum(), rest)
    torch.testing.assert_close(gradient[..., :2], right)
    assert bool((gradient[..., 2:] == 0).all())


def test_learned_noise_is_a_parameter_and_fixed_noise_a_buffer():
    assert [name for name, _ in Gaussian(0.5, learn=True).named_parameters()] == ["log_scale"]
    fixed = Gaussian(0.5)
    assert list(fixed.parameters()) == []
    assert list(fixed.state_dict()) == ["log_scale"]
    assert fixed.to(torch.float64).scale.dtype == torch.float64
    assert float(fixed.scale) == pytest.approx(0.5)


@pytest.mark.parametrize("noise", [0.0, -1.0, float("inf"), torch.zeros(3), torch.ones(2, 2)])
def test_noise_must_be_positive(noise):
    with pytest.raises(ValueError, match="noise"):
        Gaussian(noise)


def test_outputs_needed():
    assert [CASES[case][0].num_outputs(C) for case in CASES] == [CASES[case][1] for case in CASES]
    with pytest.raises(ValueError, match="an even number"):
        HeteroscedasticGaussian().log_prob(torch.zeros(2, 3), torch.zeros(2, 1))


def test_learned_noise_finds_the_residuals():
    """The maximum of the likelihood in the noise is the root mean square of the residuals."""
    likelihood, residuals = Gaussian(learn=True).to(DTYPE), torch.randn(50, 1, dtype=DTYPE)
    best = residuals.square().mean().sqrt()
    likelihood.log_scale = nn.Parameter(best.log())
    likelihood.log_prob(torch.zeros(50, 1, dtype=DTYPE), residuals).sum().backward()
    torch.testing.assert_close(likelihood.log_scale.grad, torch.zeros((), dtype=DTYPE), atol=1e-10, rtol=0)
