"""Networks of several inputs on every route: the log-likelihood is the one written by hand."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bayeshnet import speed
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Gaussian, MeanFieldGuide
from bayeshnet.inference import ImplicitELBO, Predictive, fit, reference_posterior

D = torch.float64
STD = 0.3


class Two(nn.Module):
    """Two inputs, joined in the hidden layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.h = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 1)

    def forward(self, x, z):
        return self.h(torch.tanh(self.a(x) + self.b(z)))


@pytest.fixture
def problem():
    pyro.clear_param_store()
    torch.manual_seed(0)
    net = Two().to(D)
    data = (torch.randn(10, 3, dtype=D), torch.randn(10, 2, dtype=D)), torch.randn(10, 1, dtype=D)
    guide = MeanFieldGuide(net).to(D)
    spec = guide.weight_spec
    return BayesianModel(net, FanInGaussian(spec, dtype=D), Gaussian(STD)).to(D), guide, data


def by_hand(weights, x, z, y):
    """Log-density ``(S, N)`` of each target, from the entries of flat weights."""
    sizes = (6, 2, 4, 2, 2, 1)
    rows = []
    for w in weights:
        a, a0, b, b0, h, h0 = w.split(sizes)
        hidden = torch.tanh(x @ a.view(2, 3).T + a0 + z @ b.view(2, 2).T + b0)
        mean = hidden @ h.view(1, 2).T + h0
        rows.append(torch.distributions.Normal(mean, STD).log_prob(y)[:, 0])
    return torch.stack(rows)


def test_the_model_agrees_with_the_formula(problem):
    model, _, ((x, z), y) = problem
    weights = torch.randn(4, model.weight_spec.numel, dtype=D)
    for strategy in ("auto", "vmap", "loop"):
        model.strategy = strategy
        torch.testing.assert_close(model.log_likelihood(weights, (x, z), y), by_hand(weights, x, z, y).sum(1))
    half = model.with_data(10).log_likelihood(weights, (x[:5], z[:5]), y[:5])
    torch.testing.assert_close(half, 2 * by_hand(weights, x[:5], z[:5], y[:5]).sum(1))
    trace = pyro.poutine.trace(pyro.condition(model, {"weights": weights[0]})).get_trace((x, z), y)
    expected = by_hand(weights[:1], x, z, y).sum()
    torch.testing.assert_close(trace.nodes["y"]["fn"].log_prob(y).sum(), expected)
    assert model((x, z)).shape == (10, 1)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("local_noise", [True, False])
def test_the_bound_agrees_with_the_formula(problem, direct, local_noise):
    model, guide, ((x, z), y) = problem
    if local_noise and not direct:
        pytest.skip("local noise has one route")
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.fill_(-40.0)  # weights of mean -40 times their scale, without noise
    with speed.using(direct=direct):
        terms = ImplicitELBO(num_particles=3, local_noise=local_noise).terms(model, guide, (x, z), y)
    weights = guide.distribution().mean.expand(1, -1)
    torch.testing.assert_close(terms.nll, -by_hand(weights, x, z, y).sum().detach())


def test_svi_and_sampler_take_several_inputs(problem):
    model, guide, (x, y) = problem
    step = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(x, y)
    assert torch.isfinite(torch.tensor(step))
    found = reference_posterior(model, x, y, num_samples=4, nuts={"max_tree_depth": 2})
    assert found.samples["weights"].shape == (4, 17)


def test_predictions_in_chunks_equal_those_at_once(problem):
    model, guide, ((x, z), y) = problem
    whole = Predictive(guide, model.net, Gaussian(STD).to(D), 6)
    parts = Predictive(guide, model.net, Gaussian(STD).to(D), 6, input_chunk=3, sample_chunk=4)
    draws = torch.Generator().manual_seed(3)
    weights = guide.distribution().draw(6, torch.Generator().manual_seed(3)).w
    expected = by_hand(weights, x, z, y).logsumexp(0) - torch.tensor(6.0, dtype=D).log()
    torch.testing.assert_close(whole.log_likelihood((x, z), y, generator=draws), expected)
    chunked = Predictive(guide, model.net, Gaussian(STD).to(D), 6, input_chunk=3)
    draws = torch.Generator().manual_seed(3)
    torch.testing.assert_close(chunked.log_likelihood((x, z), y, generator=draws), expected)
    assert parts((x, z)).mean.shape == (10, 1)
    a, b = (p((x, z), generator=torch.Generator().manual_seed(3)) for p in (whole, chunked))
    torch.testing.assert_close(a.mean, b.mean)
    with pytest.raises(ValueError, match=r"y: expected as many targets as inputs \(10\)"):
        chunked.log_likelihood((x, z), y[:9])


@pytest.mark.parametrize("kind", ["tensors", "loader", "transform", "batches"])
def test_fit_takes_several_inputs(problem, kind):
    model, guide, ((x, z), y) = problem
    pairs = [((x[i], z[i]), y[i]) for i in range(10)]
    data, options = {
        "tensors": (((x, z), y), {}),
        "batches": (((x, z), y), {"batch_size": 4}),
        "loader": (DataLoader(pairs, 5), {}),
        "transform": (TensorDataset(x, z, y), {"transform": lambda x, z, y, generator: ((x, z), y)}),
    }[kind]
    result = fit(model, guide, data, num_epochs=60, lr=0.02, num_particles=4, **options)
    quarter = result.steps // 4
    assert result.steps == {"loader": 120, "batches": 120}.get(kind, 60)
    nll = result.history["nll"]
    assert nll[-quarter:].mean() < nll[:quarter].mean()


def test_inputs_of_several_lengths_and_other_forms_are_refused(problem):
    model, guide, ((x, z), y) = problem
    with pytest.raises(TypeError, match=r"data: expected inputs and targets \(x, y\), .* Write \(\(x, z\), y\)"):
        fit(model, guide, (x, z, y), num_steps=1)
    with pytest.raises(TypeError, match="data: expected inputs and targets"):
        ImplicitELBO().loss(model, guide, x, z, y)
    with pytest.raises(ValueError, match="one row per example each, got lengths 10, 9"):
        fit(model, guide, ((x, z[:9]), y), num_steps=1)
    for wrong in ({"x": x}, [x, z], (x, 3.0), (), None):
        with pytest.raises(TypeError, match=r"x: expected inputs \(N, ...\), or a tuple"):
            model(wrong, y)
        with pytest.raises(TypeError, match=r"x: expected inputs \(N, ...\), or a tuple"):
            Predictive(guide, model.net)(wrong)
