"""All routes to the log-likelihood against one that is written by hand: one weight vector and one example at a time."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from bayeshnet import speed
from bayeshnet.distributions import FanInGaussian, WeightPosterior
from bayeshnet.estimators import Auto
from bayeshnet.guides import (
    BayesianModel,
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    HypernetGuide,
    Poisson,
)
from bayeshnet.inference import ImplicitELBO, Predictive, reference_posterior
from bayeshnet.inference.reference import DrawnPosterior
from bayeshnet.mnets import MLP, ModuleMainNet
from tests.support.oracles import DTYPE

N, S, NUM_DATA = 6, 4, 30


def softplus(r):
    return math.log1p(math.exp(r))


def one_class(f, y):
    return f[int(y[0])] - math.log(sum(math.exp(v) for v in f))


def yes_or_no(f, y):
    return sum(-softplus(-v if t else v) for v, t in zip(f, y, strict=True))


def normal(mean, scale, y):
    return -0.5 * ((y - mean) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


def gaussian(f, y):
    return sum(normal(m, 0.7, t) for m, t in zip(f, y, strict=True))


def heteroscedastic(f, y):
    half = len(f) // 2
    return sum(normal(m, 0.1 + softplus(r), t) for m, r, t in zip(f[:half], f[half:], y, strict=True))


def poisson(f, y):
    return sum(t * v - math.exp(v) - math.lgamma(t + 1) for v, t in zip(f, y, strict=True))


def draw(*shape):
    return torch.randn(*shape, dtype=DTYPE)


# The likelihood, outputs per target, targets per input, how they are drawn, and the log-likelihood of one example.
LIKELIHOODS = {
    "categorical": (lambda: Categorical(), 3, 1, lambda *s: torch.randint(3, s[:1] + s[2:]), one_class),
    "bernoulli": (lambda: Bernoulli(), 1, 2, lambda *s: torch.randint(2, s).to(DTYPE), yes_or_no),
    "bernoulli of one": (lambda: Bernoulli(), 1, 1, lambda *s: torch.randint(2, s).to(DTYPE), yes_or_no),
    "gaussian": (lambda: Gaussian(torch.tensor(0.7, dtype=DTYPE)), 1, 2, draw, gaussian),
    "gaussian of one": (lambda: Gaussian(torch.tensor(0.7, dtype=DTYPE)), 1, 1, draw, gaussian),
    "heteroscedastic": (lambda: HeteroscedasticGaussian(0.1), 2, 2, draw, heteroscedastic),
    "poisson": (lambda: Poisson(), 1, 2, lambda *s: torch.randint(5, s).to(DTYPE), poisson),
}


def perceptron(num):
    return MLP(2, num, hidden_layers=(3,), activation_fn=nn.Tanh(), no_weights=True, verbose=False)


def module(num):
    return ModuleMainNet(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, num)).to(DTYPE))


def squeezed(num):
    """A network with outputs ``(N,)``, as ``net(x).squeeze(-1)`` has them."""
    layers = nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, num), nn.Flatten(0)
    return ModuleMainNet(nn.Sequential(*layers).to(DTYPE))


def pixels(num):
    """A network with outputs ``(N, C, 2, 3)``, as segmentation has them."""
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, num, 1)
    return ModuleMainNet(nn.Sequential(*layers).to(DTYPE))


class Steps(nn.Module):
    """A network with outputs ``(N, C, 4)`` of sequences ``(N, 4, 2)``, each of all steps so far."""

    def __init__(self, num):
        super().__init__()
        self.inner, self.head = nn.Linear(2, 3), nn.Linear(3, num)

    def forward(self, x):
        return self.head(self.inner(x).tanh().cumsum(1)).transpose(1, 2)


def steps(num):
    return ModuleMainNet(Steps(num).to(DTYPE))


NETWORKS = {"perceptron": perceptron, "module": module, "pixels": pixels, "steps": steps}
INPUTS = {"pixels": (1, 2, 3), "steps": (4, 2)}
PLACES = {"pixels": (2, 3), "steps": (4,)}


class Problem:
    """A model, data, weight draws and their log-likelihood ``(S, N)`` by hand."""

    def __init__(self, likelihood, network, strategy="auto", num_data=NUM_DATA):
        torch.manual_seed(3)
        make, per_target, targets, draw_targets, by_hand = LIKELIHOODS[likelihood]
        self.net = {**NETWORKS, "squeezed": squeezed}[network](per_target * targets)
        self.x, self.y = draw(N, *INPUTS.get(network, (2,))), draw_targets(N, targets, *PLACES.get(network, ()))
        prior = FanInGaussian(self.net.weight_spec, dtype=DTYPE)
        self.model = BayesianModel(self.net, prior, make(), num_data, strategy=strategy)
        self.w = draw(S, self.net.weight_spec.numel)
        self.expected = torch.zeros(S, N, dtype=DTYPE)
        for s, weights in enumerate(self.w):
            for n in range(N):
                f = self.net(self.x[n : n + 1], weights=self.net.weight_spec.split(weights))[0]
                rows = f.reshape(per_target * targets, -1).T.tolist(), self.y[n].reshape(targets, -1).T.tolist()
                self.expected[s, n] = sum(by_hand(*pair) for pair in zip(*rows, strict=True))

    @property
    def scaled(self):
        """Log-likelihood ``(S,)`` of the data set of which the examples are a part."""
        return self.expected.sum(1) * (NUM_DATA / N)

    def guide(self):
        return HypernetGuide(Replay(self.w, self.net.weight_spec), Auto())


class Replay(WeightPosterior):
    """A posterior whose draws are given, in order, whoever asks; its other answers are those of the prior."""

    def __init__(self, w, spec):
        super().__init__()
        self.w, self.weight_spec, self.used = w, spec, 0

    def forward(self, cond_id=None, cond_input=None):
        q = FanInGaussian(self.weight_spec, dtype=DTYPE)
        plain = q.draw

        def replayed(num, generator=None):
            found = plain(num, generator)
            w = self.w[self.used : self.used + num]
            self.used += num
            return type(found)(w, **{k: v for k, v in vars(found).items() if k != "w"})

        q.draw = replayed
        return q


likelihoods = pytest.mark.parametrize("likelihood", LIKELIHOODS)
networks = pytest.mark.parametrize("network", NETWORKS)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-9)


@likelihoods
@networks
@pytest.mark.parametrize("strategy", ["auto", "vmap", "loop"])
def test_the_model(likelihood, network, strategy):
    problem = Problem(likelihood, network, strategy)
    outputs = problem.model.outputs(problem.w, problem.x)
    close(problem.model.likelihood.log_prob(outputs, problem.y), problem.expected)
    close(problem.model.log_likelihood(problem.w, problem.x, problem.y), problem.scaled)
    close(problem.model.negative_log_likelihood(outputs, problem.y), -problem.scaled.mean())
    whole = problem.model.with_data(N)
    close(whole.log_likelihood(problem.w, problem.x, problem.y), problem.expected.sum(1))


@likelihoods
@networks
@pytest.mark.parametrize(("direct", "vectorized"), [(True, True), (False, True), (False, False)])
def test_the_bound(likelihood, network, direct, vectorized):
    problem = Problem(likelihood, network)
    elbo = ImplicitELBO(num_particles=S, num_samples=1, vectorize_particles=vectorized, max_plate_nesting=2)
    with speed.using(direct=direct):
        terms = elbo.terms(problem.model, problem.guide(), problem.x, problem.y)
    close(terms.weights, problem.w)
    close(terms.nll, -problem.scaled.mean())


@likelihoods
@networks
@pytest.mark.parametrize("vectorized", [True, False])
def test_the_program_as_pyro_runs_it(likelihood, network, vectorized):
    """The log-density of the model, from which Pyro's bounds and samplers are made, less that of the prior."""
    problem = Problem(likelihood, network)
    if vectorized:
        program = pyro.plate("particles", S, dim=-2)(problem.model)
        draws, expected = [problem.w.unsqueeze(1)], [problem.expected * (NUM_DATA / N)]
    else:
        program, draws, expected = problem.model, problem.w, problem.expected * (NUM_DATA / N)
    for w, each in zip(draws, expected, strict=True):
        trace = poutine.trace(poutine.condition(program, {"weights": w})).get_trace(problem.x, problem.y)
        trace.compute_log_prob()
        close(trace.nodes["y"]["log_prob"], each)
        total = each.sum() + problem.model.prior.log_prob(w).sum()
        close(trace.log_prob_sum(), total)


@likelihoods
@networks
def test_pyros_own_bound(likelihood, network):
    problem = Problem(likelihood, network)

    def guide(x, y):
        pyro.sample("weights", pyro.distributions.Delta(problem.w[0], event_dim=1))

    expected = problem.scaled[0] + problem.model.prior.log_prob(problem.w[0])
    found = Trace_ELBO().differentiable_loss(problem.model, guide, problem.x, problem.y)
    close(found, -expected)


@likelihoods
@networks
@pytest.mark.parametrize("chunks", [{}, {"sample_chunk": 1}, {"sample_chunk": 3, "input_chunk": 4}])
def test_predictions(likelihood, network, chunks):
    problem = Problem(likelihood, network)
    posterior = DrawnPosterior(problem.w, problem.net.weight_spec)
    if "sample_chunk" in chunks:
        posterior = Replay(problem.w, problem.net.weight_spec)
    predictive = Predictive(posterior, problem.net, problem.model.likelihood, S, **chunks)
    expected = problem.expected.logsumexp(0) - math.log(S)
    close(predictive.log_likelihood(problem.x, problem.y), expected)


# The same targets, and the same network, in the other shape or type that is taken.
OTHER_TARGETS = {
    "categorical": [lambda y: y.int(), lambda y: y.to(torch.uint8), lambda y: y.to(torch.int16)],
    "bernoulli": [lambda y: y.bool(), lambda y: y.int(), lambda y: y.to(torch.uint8), lambda y: y.float()],
    "bernoulli of one": [lambda y: y[:, 0], lambda y: y[:, 0].bool()],
    "gaussian of one": [lambda y: y[:, 0]],
    "poisson": [lambda y: y.int(), lambda y: y.float()],
}


SQUEEZED = [(name, lambda y: y, "squeezed") for name in LIKELIHOODS if name.endswith("of one")]
SQUEEZED += [(name, lambda y: y[:, 0], "squeezed") for name in LIKELIHOODS if name.endswith("of one")]
CHANGED = [(name, change, network) for name, some in OTHER_TARGETS.items() for change in some for network in NETWORKS]


@pytest.mark.parametrize(("likelihood", "other", "network"), CHANGED + SQUEEZED)
def test_other_shapes_and_types_mean_the_same_on_every_route(likelihood, other, network):
    problem = Problem(likelihood, network)
    x, y, model = problem.x, other(problem.y), problem.model
    close(model.log_likelihood(problem.w, x, y), problem.scaled)
    for direct, vectorized in [(True, True), (False, True), (False, False)]:
        with speed.using(direct=direct):
            elbo = ImplicitELBO(num_particles=S, num_samples=1, vectorize_particles=vectorized)
            elbo.max_plate_nesting = 2
            close(elbo.terms(model, problem.guide(), x, y).nll, -problem.scaled.mean())
    trace = poutine.trace(poutine.condition(model, {"weights": problem.w[0]})).get_trace(x, y)
    trace.compute_log_prob()
    close(trace.nodes["y"]["log_prob_sum"], problem.scaled[0])
    predictive = Predictive(DrawnPosterior(problem.w, problem.net.weight_spec), problem.net, model.likelihood, S)
    close(predictive.log_likelihood(x, y), problem.expected.logsumexp(0) - math.log(S))


@pytest.mark.parametrize("network", ["module", "pixels", "steps"])
def test_ignored_labels_count_as_data_without_information(network):
    """One rule on all routes, whatever the label: a log-probability of 0, and the scale of all examples."""
    problem = Problem("categorical", network)
    model = BayesianModel(problem.net, problem.model.prior, Categorical(ignore_index=-100), NUM_DATA)
    y = problem.y.clone()
    y[1:3] = -100
    y[4].view(-1)[-1:] = -100
    each = problem.expected.clone()
    each[:, 1:3] = 0
    each[:, 4] = 0
    for s, weights in enumerate(problem.w):
        f = problem.net(problem.x[4:5], weights=problem.net.weight_spec.split(weights))[0]
        rows = f.reshape(3, -1).T.tolist(), y[4].flatten().tolist()
        each[s, 4] = sum(one_class(out, [label]) for out, label in zip(*rows, strict=True) if label >= 0)
    scaled = each.sum(1) * (NUM_DATA / N)
    close(model.log_likelihood(problem.w, problem.x, y), scaled)
    for direct, vectorized in [(True, True), (False, True), (False, False)]:
        with speed.using(direct=direct):
            elbo = ImplicitELBO(num_particles=S, num_samples=1, vectorize_particles=vectorized, max_plate_nesting=2)
            close(elbo.terms(model, problem.guide(), problem.x, y).nll, -scaled.mean())
    trace = poutine.trace(poutine.condition(model, {"weights": problem.w[0]})).get_trace(problem.x, y)
    close(trace.log_prob_sum(), scaled[0] + model.prior.log_prob(problem.w[0]))
    predictive = Predictive(DrawnPosterior(problem.w, problem.net.weight_spec), problem.net, model.likelihood, S)
    close(predictive.log_likelihood(problem.x, y), each.logsumexp(0) - math.log(S))


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["(N,)", "(N, 1)", "outputs (N,)"])
def test_nuts_finds_the_conjugate_posterior_in_any_shape(shape):
    torch.manual_seed(0)
    x = draw(30, 1)
    y = 2 * x + 0.3 * draw(30, 1)
    line = nn.Linear(1, 1, bias=False).to(DTYPE)
    net = ModuleMainNet(nn.Sequential(line, nn.Flatten(0)) if shape == "outputs (N,)" else line)
    prior = FanInGaussian(net.weight_spec, dtype=DTYPE)
    model = BayesianModel(net, prior, Gaussian(torch.tensor(0.3, dtype=DTYPE)))
    targets = y if shape == "(N, 1)" else y[:, 0]
    found = reference_posterior(model, x, targets, num_samples=400, generator=torch.Generator().manual_seed(0))
    precision = float(x.square().sum() / 0.09 + prior.scale[0] ** -2)
    mean, std = float((x * y).sum() / 0.09 / precision), precision**-0.5
    samples = found.samples["weights"]
    assert abs(float(samples.mean()) - mean) < 0.3 * std
    assert 0.8 < float(samples.std()) / std < 1.2
