"""The KL between Gaussians of which some have a full covariance, and their gradients where it is learned."""

import itertools

import pytest
import torch
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal, kl_divergence

from bayeshnet.distributions import (
    FanInGaussian,
    LowRankGaussian,
    MeanFieldGaussian,
    Radial,
    ScaleMixturePrior,
    SemiImplicit,
)
from bayeshnet.estimators import Auto, ClosedForm, MonteCarlo
from bayeshnet.estimators.analytic import conditional_kl
from bayeshnet.weights import WeightSpec, Whitening
from tests.support.oracles import DTYPE, DenseGeometry, LinearProblem

P = 3
KINDS = ("mean field", "normal", "low rank", "torch low rank", "full", "identity", "covariance", "precision")


def normal(*size, seed=0):
    return torch.randn(*size, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def gaussian(kind, seed):
    """Return a learned Gaussian, the same as a dense one that torch computes with, and the parameters."""
    loc, scale = normal(P, seed=seed), normal(P, seed=seed + 1).exp()
    factor, root = normal(P, 2, seed=seed + 2), normal(P, P, seed=seed + 3).tril(-1) + torch.diag(scale)
    second = {
        "mean field": scale,
        "normal": scale,
        "full": root,
        "low rank": factor,
        "torch low rank": factor,
    }.get(kind, torch.eye(P, dtype=DTYPE))
    loc, second = loc.requires_grad_(), second.clone().requires_grad_()
    if kind == "mean field":
        found, dense = MeanFieldGaussian(loc, second), torch.diag(second**2)
    elif kind == "normal":
        found, dense = Independent(Normal(loc, second), 1), torch.diag(second**2)
    elif kind == "low rank":
        found, dense = LowRankGaussian(loc, second, scale), second @ second.T + torch.diag(scale)
    elif kind == "torch low rank":
        found, dense = LowRankMultivariateNormal(loc, second, scale), second @ second.T + torch.diag(scale)
    elif kind == "covariance":
        found, dense = MultivariateNormal(loc, covariance_matrix=second), second
    elif kind == "precision":
        found, dense = MultivariateNormal(loc, precision_matrix=second), torch.linalg.inv(second)
    else:
        root = second.tril()
        found, dense = MultivariateNormal(loc, scale_tril=root), root @ root.T
    return found, MultivariateNormal(loc, dense), (loc, second)


@pytest.mark.parametrize(("left", "right"), list(itertools.product(KINDS, KINDS)))
def test_all_pairs_have_the_dense_closed_form(left, right):
    """A covariance that is learned has gradients at all of its entries, also where it is the identity at present."""
    (q, dense_q, own), (p, dense_p, other) = gaussian(left, 0), gaussian(right, 10)
    estimate = ClosedForm().estimate(q, p)
    expected = kl_divergence(dense_q, dense_p)
    torch.testing.assert_close(estimate.value, expected.detach())
    parameters = (*own, *other)
    torch.testing.assert_close(
        torch.autograd.grad(estimate.surrogate, parameters), torch.autograd.grad(expected, parameters)
    )
    assert Auto().estimate(q, p).diagnostics["choice"] == "ClosedForm"


def test_torch_finds_the_closed_form_to_a_prior_of_the_library():
    prior = FanInGaussian(WeightSpec.of_shapes([[P]]), dtype=DTYPE)
    for kind in ("full", "torch low rank"):
        q, dense, _ = gaussian(kind, 0)
        torch.testing.assert_close(
            kl_divergence(q, prior), kl_divergence(dense, MultivariateNormal(prior.loc, torch.diag(prior.variance)))
        )


def test_precisions_may_differ():
    q, _, _ = gaussian("mean field", 0)
    p, _, _ = gaussian("full", 10)
    single = MultivariateNormal(p.loc.float(), scale_tril=p.scale_tril.float())
    found = ClosedForm().estimate(q, single)
    assert found.surrogate.dtype == DTYPE
    torch.testing.assert_close(found.value, ClosedForm().estimate(q, p).value, rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["full", "low rank"])
def test_a_radial_distribution_to_correlated_weights(kind):
    """Against the mean over many draws of the difference of log-densities."""
    loc, scale = normal(P), normal(P, seed=1).exp()
    q, (p, _, _) = Radial(loc, scale, WeightSpec.of_shapes([[2], [1]])), gaussian(kind, 10)
    with torch.no_grad():
        w = q.draw(200_000, torch.Generator().manual_seed(0)).w
        terms = q.log_prob(w) - p.log_prob(w)
    error = float(terms.std()) / len(terms) ** 0.5
    assert abs(float(ClosedForm().estimate(q, p).value) - float(terms.mean())) < 4 * error


def test_a_hypernetwork_to_correlated_weights_has_no_noise_of_draws():
    """The KL of the weights given their latent is that of two Gaussians."""
    matrix, (p, _, _) = normal(P, 2), gaussian("full", 10)
    whitening = Whitening(normal(P, seed=1), normal(P, seed=2).exp())
    sigma = normal(P, seed=3).exp()
    q = SemiImplicit(DenseGeometry(lambda z: torch.sin(z @ matrix.T), 2, P), sigma, whitening)
    z = normal(5, 2, seed=4)
    found = conditional_kl(q, p)
    h = torch.sin(z @ matrix.T)
    means = q.loc + q.scale * h
    expected = torch.stack([kl_divergence(MultivariateNormal(m, torch.diag((q.scale * sigma) ** 2)), p) for m in means])
    torch.testing.assert_close(found.constant + found.at(z), expected)
    torch.testing.assert_close(found.constant + found.mean_at(h), expected.mean())


def test_a_linear_hypernetwork_to_correlated_weights_has_a_closed_form():
    problem, (p, dense, _) = LinearProblem.make(2, P), gaussian("full", 10)
    estimate = Auto().estimate(problem.q(affine=True), p)
    assert estimate.diagnostics["choice"] == "ClosedForm"
    torch.testing.assert_close(estimate.value, kl_divergence(problem.dense(), dense).detach())


def test_a_covariance_that_has_been_looked_at():
    """Torch then holds it in several forms; the estimate is that of one that has not been looked at."""
    prior = ScaleMixturePrior(WeightSpec.of_shapes([[P]]), scale2=0.5, dtype=DTYPE)
    found = []
    for look in (False, True):
        covariance = (torch.eye(P, dtype=DTYPE) + 0.5).requires_grad_()
        q = MultivariateNormal(normal(P), covariance)
        if look:
            assert q.scale_tril.shape == q.precision_matrix.shape
        torch.manual_seed(0)
        estimate = MonteCarlo(8).estimate(q, prior)
        found.append((estimate.value, torch.autograd.grad(estimate.surrogate, covariance)[0]))
        assert q.covariance_matrix.requires_grad
    torch.testing.assert_close(found[0], found[1])
