"""Answers per pixel or step: predictions, draws, doors, and a small segmentation and a sequence that are learned."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from bayeshnet.continual import EWC, Split, Task
from bayeshnet.continual.losses.outlier_exposure import uniform_cross_entropy
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import (
    BayesianModel,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    Likelihood,
    MeanFieldGuide,
    Poisson,
)
from bayeshnet.guides.likelihoods.places import AtPlaces, PlacedDistribution
from bayeshnet.inference import Predictive, fit, reference_posterior
from bayeshnet.inference.reference import DrawnPosterior
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

S, N, C, PLACES = 4, 3, 2, (2, 5)


def draw(*shape):
    return torch.randn(*shape, dtype=DTYPE)


NOISE = torch.tensor([0.4, 2.0], dtype=DTYPE)
# The likelihood, its number of outputs, and targets.
CASES = {
    "categorical": (Categorical(), C, lambda *p: torch.randint(C, (N, *p))),
    "bernoulli": (Bernoulli(), C, lambda *p: torch.randint(2, (N, C, *p)).to(DTYPE)),
    "gaussian": (Gaussian(0.7).to(DTYPE), C, lambda *p: draw(N, C, *p)),
    "gaussian per target": (Gaussian(NOISE), C, lambda *p: draw(N, C, *p)),
    "heteroscedastic": (HeteroscedasticGaussian(0.1), 2 * C, lambda *p: draw(N, C, *p)),
    "poisson": (Poisson(), C, lambda *p: torch.randint(6, (N, C, *p)).to(DTYPE)),
}
cases = pytest.mark.parametrize("case", CASES)
ranks = pytest.mark.parametrize("places", [(4,), PLACES, (2, 1, 3)])


def place_by_place(outputs, places):
    """Outputs ``(*B, N, C)`` at each place, with its index."""
    for index in torch.cartesian_prod(*[torch.arange(p) for p in places]).reshape(-1, len(places)).tolist():
        yield (..., *index), outputs[(..., *index)]


@cases
@ranks
@pytest.mark.parametrize("batch", [(), (S,), (2, S)])
def test_everything_is_that_of_each_place(case, places, batch):
    likelihood, size, targets = CASES[case]
    outputs, y = draw(*batch, N, size, *places).requires_grad_(), targets(*places)
    at = AtPlaces(likelihood, len(places))
    mean, noise, log_prob = at.mean(outputs), at.noise(outputs), 0
    for index, one in place_by_place(outputs, places):
        log_prob = log_prob + likelihood.log_prob(one, y[index])
        torch.testing.assert_close(mean[index], likelihood.mean(one))
        torch.testing.assert_close(noise[index], likelihood.noise(one))
    assert mean.shape == (*batch, N, C, *places)
    found = {
        "log_prob": at.log_prob(outputs, y),
        "directly": likelihood.log_prob(outputs, y),
        "distribution": at.distribution(outputs).log_prob(y),
        "observed": at.observed(outputs, y)[0].log_prob(at.observed(outputs, y)[1]),
    }
    mix = torch.randn_like(log_prob)
    (right,) = torch.autograd.grad((log_prob * mix).sum(), outputs, retain_graph=True)
    for name, value in found.items():
        torch.testing.assert_close(value, log_prob, msg=name)
        torch.testing.assert_close(torch.autograd.grad((value * mix).sum(), outputs, retain_graph=True)[0], right)
    torch.testing.assert_close(at.log_prob_sum(outputs, y), log_prob.sum())
    torch.testing.assert_close(likelihood.log_prob_sum(outputs, y), log_prob.sum())


@cases
def test_draws_have_the_shape_of_targets_and_the_right_moments(case):
    likelihood, size, targets = CASES[case]
    outputs = 0.5 * draw(N, size, *PLACES)
    distribution = AtPlaces(likelihood, 2).distribution(outputs)
    assert distribution.batch_shape == (N,)
    assert distribution.event_shape == targets(*PLACES).shape[1:]
    draws = distribution.sample((4000,)).to(DTYPE)
    assert draws.shape == (4000, *targets(*PLACES).shape)
    mean = AtPlaces(likelihood, 2).mean(outputs)
    mean = mean[:, 1] if case == "categorical" else mean
    scale = draws.std(0).clamp_min(1e-3)
    assert ((draws.mean(0) - mean).abs() / scale).max() < 5 / math.sqrt(4000)
    wider = distribution.expand((6, N))
    assert wider.sample().shape == (6, *targets(*PLACES).shape)
    assert bool(distribution.support.check(targets(*PLACES)).all())


def net_of(size):
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, size, 1)).to(DTYPE)


@cases
@pytest.mark.parametrize("chunks", [{}, {"input_chunk": 2}])
def test_predictions_are_maps(case, chunks):
    likelihood, size, targets = CASES[case]
    net, x, y = net_of(size), draw(N, 1, *PLACES), targets(*PLACES)
    spec = WeightSpec.of(net)
    w = draw(S, spec.numel)
    predictive = Predictive(DrawnPosterior(w, spec), net, likelihood, S, **chunks)
    found = predictive(x, keep_samples=True, quantiles=[0.25, 0.75])
    outputs = BayesianModel(net, FanInGaussian(spec, dtype=DTYPE), likelihood).outputs(w, x)
    for index, one in place_by_place(outputs, PLACES):
        means, noise = likelihood.mean(one), likelihood.noise(one).mean(0)
        between = means.var(0, correction=0)
        torch.testing.assert_close(found.mean[index], means.mean(0))
        torch.testing.assert_close(found.spread[index], between)
        torch.testing.assert_close(found.aleatoric[index], noise)
        torch.testing.assert_close(found.total[index], likelihood.total(means.mean(0), between, noise))
    assert found.samples.shape == (S, N, C, *PLACES)
    assert found.quantiles[0.25].shape == (N, C, *PLACES)
    if case.startswith("gaussian"):
        below = torch.distributions.Normal(outputs, likelihood.scale.reshape(-1, 1, 1)).cdf(found.quantiles[0.75])
        torch.testing.assert_close(below.mean(0), torch.full_like(found.mean, 0.75))
    if case == "categorical":
        assert torch.equal(found.label, outputs.softmax(2).mean(0).argmax(1))
        torch.testing.assert_close(found.confidence, found.mean.amax(1))
        torch.testing.assert_close(found.certainty, found.mean.amax(1).reshape(N, -1).prod(1))
    if case == "bernoulli":
        assert torch.equal(found.label, (found.mean > 0.5).long())
        torch.testing.assert_close(found.certainty, found.confidence.reshape(N, -1).prod(1))
    each = AtPlaces(likelihood, 2).log_prob(outputs, y)
    torch.testing.assert_close(predictive.log_likelihood(x, y), each.logsumexp(0) - math.log(S))
    plain = Predictive(DrawnPosterior(w, spec), net, None, S)(x)
    torch.testing.assert_close(plain.total, outputs.var(0, correction=0).sum(1))


def test_a_single_value_per_place_may_lack_its_dimension():
    y, outputs = draw(N, *PLACES), draw(S, N, 1, *PLACES)
    for likelihood, targets in (
        (Gaussian(0.7).to(DTYPE), y),
        (Bernoulli(), (y > 0).long()),
        (Poisson(), (y > 0).int()),
    ):
        whole = likelihood.on(outputs).log_prob(outputs, targets.unsqueeze(1))
        for same in (likelihood.on(outputs), likelihood):
            torch.testing.assert_close(same.log_prob(outputs, targets), whole)
    steps, y = draw(S, N, 1, 6), draw(N, 6)
    normal = torch.distributions.Normal(steps[:, :, 0], 0.7)
    torch.testing.assert_close(Gaussian(0.7).to(DTYPE).log_prob(steps, y), normal.log_prob(y).sum(-1))


def test_targets_that_do_not_fit_are_refused_by_their_own_shapes():
    outputs = draw(S, N, C, *PLACES)
    model = BayesianModel(net_of(C), FanInGaussian(WeightSpec.of(net_of(C)), dtype=DTYPE), Categorical())
    for y in (
        torch.zeros(N).long(),
        torch.zeros(N, *PLACES),
        torch.zeros(N, C, *PLACES).long(),
        torch.zeros(N, 10).long(),
    ):
        with pytest.raises(ValueError, match=r"y: expected class indices of shape \(3, 2, 5\)"):
            model.log_likelihood_of(outputs, y)
    with pytest.raises(ValueError, match=r"one-hot targets y.argmax\(1\)"):
        model.log_likelihood_of(outputs, torch.zeros(N, C, *PLACES).long())
    with pytest.raises(ValueError, match=r"y: expected class indices"):
        model.log_likelihood_of(outputs, torch.full((N, *PLACES), C))
    for y in (draw(N), draw(N, C), draw(N, *PLACES), draw(N, 1, *PLACES)):
        with pytest.raises(ValueError, match=r"y: expected targets of shape \(3, 2, 2, 5\), got"):
            Gaussian().on(outputs).log_prob(outputs, y)


def test_a_likelihood_of_ones_own_is_summed_over_places_too():
    class Laplace(Likelihood):
        kind = "regression"

        def distribution(self, outputs):
            return pyro.distributions.Laplace(outputs, 1.0).to_event(1)

        def log_prob(self, outputs, y):
            return self.distribution(outputs).log_prob(self.targets(outputs, y))

        def mean(self, outputs):
            return outputs

        def noise(self, outputs):
            return 2.0 * torch.ones_like(outputs).sum(-1)

        def total(self, mean, between, noise):
            return noise + between.sum(-1)

    outputs, y = draw(S, N, C, *PLACES), draw(N, C, *PLACES)
    expected = torch.distributions.Laplace(outputs, 1.0).log_prob(y).sum((2, 3, 4))
    at = Laplace().on(outputs)
    torch.testing.assert_close(at.log_prob(outputs, y), expected)
    distribution, targets = at.observed(outputs, y)
    torch.testing.assert_close(distribution.log_prob(targets), expected)
    with pytest.raises(ValueError, match="y: expected"):
        at.log_prob(outputs, y[:, :1])

    class Own(Laplace):
        def outputs(self, outputs, num_inputs):
            return outputs.flatten(2)

    assert isinstance(Own().on(outputs), Own)


def test_a_tempered_likelihood_is_tempered_once():
    class Tempered(Categorical):
        def log_prob(self, outputs, y):
            return 0.5 * super().log_prob(outputs, y)

    outputs, y = draw(S, N, C, *PLACES), torch.randint(C, (N, *PLACES))
    expected = 0.5 * Categorical().log_prob(outputs, y)
    torch.testing.assert_close(Tempered().log_prob(outputs, y), expected)
    torch.testing.assert_close(Tempered().on(outputs).log_prob(outputs, y), expected)
    torch.testing.assert_close(Tempered().on(outputs).log_prob_sum(outputs, y), expected.sum())


@pytest.mark.parametrize("vectorized", [False, True])
def test_the_program_draws_targets(vectorized):
    net = net_of(C)
    model = BayesianModel(net, FanInGaussian(WeightSpec.of(net), dtype=DTYPE), Gaussian(NOISE))
    x = draw(N, 1, *PLACES)
    program = pyro.plate("particles", S, dim=-2)(model) if vectorized else model
    trace = poutine.trace(program).get_trace(x)
    assert isinstance(trace.nodes["y"]["fn"], PlacedDistribution)
    shape = (S, N, C, *PLACES) if vectorized else (N, C, *PLACES)
    assert trace.nodes["y"]["value"].shape == shape
    w = trace.nodes["weights"]["value"].reshape(-1, WeightSpec.of(net).numel)
    means = model.outputs(w, x)
    right = torch.distributions.Normal(means, NOISE.reshape(2, 1, 1)).log_prob(trace.nodes["y"]["value"])
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["y"]["log_prob"].reshape(-1, N), right.sum((2, 3, 4)))


@pytest.mark.slow
def test_nuts_finds_the_conjugate_posterior_of_steps():
    torch.manual_seed(0)
    x = draw(10, 1, 4)
    y = 2 * x + 0.3 * draw(10, 1, 4)
    line = nn.Conv1d(1, 1, 1, bias=False).to(DTYPE)
    prior = FanInGaussian(WeightSpec.of(line), dtype=DTYPE)
    model = BayesianModel(line, prior, Gaussian(torch.tensor(0.3, dtype=DTYPE)))
    precision = float(x.square().sum() / 0.09 + prior.scale[0] ** -2)
    mean, std = float((x * y).sum() / 0.09 / precision), precision**-0.5
    samples = reference_posterior(
        model, x, y[:, 0], num_samples=400, generator=torch.Generator().manual_seed(0)
    ).samples["weights"]
    assert abs(float(samples.mean()) - mean) < 0.3 * std
    assert 0.8 < float(samples.std()) / std < 1.2


@pytest.mark.slow
def test_a_segmentation_is_learned():
    """Foreground is where the image is bright; a fifth of the pixels has no label."""
    torch.manual_seed(0)
    x = torch.randn(40, 1, 6, 6)
    right = (x[:, 0] > 0.3).long()
    y = right.where(torch.rand(40, 6, 6) > 0.2, 255)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 1))
    guide = MeanFieldGuide(net, scale="fan_in")
    model = BayesianModel(net, FanInGaussian(guide.weight_spec, last_gain=5.0), Categorical(ignore_index=255))
    fit(model, guide, (x, y), num_steps=400, batch_size=20, lr=0.02, num_particles=2)
    found = Predictive(guide, net, model.likelihood)(x)
    assert (found.label == right).float().mean() > 0.93
    assert found.epistemic.shape == (40, 6, 6)


def test_a_sequence_is_learned():
    """A running sum, of which each step is predicted by a recurrent network."""

    class Running(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.RNN(1, 4, nonlinearity="relu", batch_first=True), nn.Linear(4, 1)

        def forward(self, x):
            return self.head(self.inner(x)[0]).transpose(1, 2)

    torch.manual_seed(0)
    x = torch.rand(60, 5, 1)
    y = x[..., 0].cumsum(1)
    net = Running()
    guide = MeanFieldGuide(net, scale="fan_in")
    model = BayesianModel(net, FanInGaussian(guide.weight_spec), Gaussian(0.2))
    fit(model, guide, (x, y), num_steps=500, lr=0.02, num_particles=2)
    found = Predictive(guide, net, model.likelihood)(x)
    assert found.mean.shape == (60, 1, 5)
    assert (found.mean[:, 0] - y).square().mean().sqrt() < 0.25
    assert y.std() > 0.7


def test_learners_refuse_networks_with_answers_per_pixel():
    x, y = torch.randn(8, 1, 4, 4), torch.randint(2, (8,))
    task = Task("pixels", Split(x, y), Split(x, y), 2, "classification")
    with pytest.raises(ValueError, match=r"network: expected one with outputs \(N, C\)"):
        EWC(nn.Conv2d(1, 2, 3)).learn(None, task)


def test_uniform_cross_entropy_is_over_classes():
    outputs = draw(S, N, C, *PLACES)
    torch.testing.assert_close(uniform_cross_entropy(outputs), -outputs.log_softmax(2).mean())
    torch.testing.assert_close(uniform_cross_entropy(outputs[..., 0, 0]), -outputs[..., 0, 0].log_softmax(-1).mean())
