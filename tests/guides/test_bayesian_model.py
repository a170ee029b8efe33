"""The generative program: likelihood, scaling, plates, priors."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from bayeshnet.distributions import FanInGaussian, MeanFieldGaussian
from bayeshnet.guides import BayesianModel, Categorical, Gaussian
from bayeshnet.mnets import ModuleMainNet
from tests.support.guide_toys import classification, data, regression, small_net
from tests.support.oracles import DTYPE


def by_hand(model, w, x, y):
    """Log-likelihood of each weight vector, one after the other."""
    rows = []
    for one in w:
        outputs = model.net(x, weights=model.weight_spec.split(one))
        rows.append(model.likelihood.distribution(outputs).log_prob(y).sum())
    return torch.stack(rows)


@pytest.mark.parametrize("make", [regression, classification])
def test_log_likelihood_is_scaled_to_the_data_set(make):
    model, _ = make(num_data=60)
    x, y = data(classes=3 if make is classification else None)
    w = torch.randn(5, model.weight_spec.numel, dtype=DTYPE)
    torch.testing.assert_close(model.log_likelihood(w, x, y), 5.0 * by_hand(model, w, x, y))
    torch.testing.assert_close(model.with_data(12).log_likelihood(w, x, y), by_hand(model, w, x, y))
    assert model.num_data == 60


@pytest.mark.parametrize("plates", [(), (4,), (2, 4)])
def test_the_program_scales_once_under_any_plates(plates):
    model, _ = regression(num_data=60)
    x, y = data()
    w = torch.randn(*plates, *([1] * bool(plates)), model.weight_spec.numel, dtype=DTYPE)
    program = poutine.condition(model, {"weights": w})
    for i, size in enumerate(reversed(plates)):
        program = pyro.plate(f"outer{i}", size, dim=-2 - i)(program)
    trace = poutine.trace(program).get_trace(x, y)
    trace.compute_log_prob()
    flat = w.reshape(-1, w.shape[-1])
    expected = 5.0 * by_hand(model, flat, x, y).reshape(plates)
    assert trace.nodes["y"]["log_prob"].shape == (*plates, 12)
    torch.testing.assert_close(trace.nodes["y"]["log_prob"].sum(-1), expected)
    torch.testing.assert_close(trace.nodes["weights"]["log_prob"].reshape(-1), model.prior.log_prob(flat))


def test_a_plate_in_the_place_of_the_data_is_refused():
    model, _ = regression()
    x, y = data()
    with pytest.raises(ValueError, match="dim=-2 or further left"), pyro.plate("outer", 3, dim=-1):
        model(x, y)


def test_targets_are_drawn_where_none_are_given():
    model, _ = classification(num_data=60)
    x, _ = data(N=70)
    labels = model(x)
    assert labels.shape == (70,)
    assert labels.dtype == torch.int64


def test_a_batch_larger_than_the_data_set_is_refused():
    model, _ = regression(num_data=5)
    with pytest.raises(ValueError, match="num_data = 5"):
        model(*data())


PRIORS = {
    "ours": lambda P: MeanFieldGaussian(torch.zeros(P, dtype=DTYPE), torch.full((P,), 2.0, dtype=DTYPE)),
    "pyro": lambda P: dist.Normal(torch.tensor(0.0, dtype=DTYPE), 2.0).expand([P]).to_event(1),
    "torch": lambda P: torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(P, dtype=DTYPE), torch.full((P,), 2.0, dtype=DTYPE)), 1
    ),
}


@pytest.mark.parametrize("kind", PRIORS)
def test_priors_of_all_kinds(kind):
    net = small_net()
    P = net.weight_spec.numel
    model = BayesianModel(net, PRIORS[kind](P), Gaussian().to(DTYPE))
    program = pyro.plate("outer", 7, dim=-2)(model)
    trace = poutine.trace(program).get_trace(*data())
    trace.compute_log_prob()
    w = trace.nodes["weights"]["value"]
    assert w.shape == (7, 1, P)
    assert (w[0] != w[1]).all()
    expected = torch.distributions.Normal(0.0, 2.0).log_prob(w).sum(-1)
    torch.testing.assert_close(trace.nodes["weights"]["log_prob"], expected)


class LearnedPrior(nn.Module):
    def __init__(self, P):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=DTYPE))
        self.P = P

    def forward(self):
        return MeanFieldGaussian(torch.zeros(self.P, dtype=DTYPE), self.scale.expand(self.P))


def test_a_prior_may_be_a_module_with_parameters():
    net = small_net()
    model = BayesianModel(net, LearnedPrior(net.weight_spec.numel), Gaussian().to(DTYPE))
    with poutine.trace(param_only=True) as params:
        poutine.trace(model).get_trace(*data())
    assert [name for name in params.trace.nodes if "scale" in name] == ["model$$$prior.scale"]


@pytest.mark.parametrize(
    "prior", [dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0).expand([5]).to_event(1), dist.Normal(0.0, 1.0).expand([16])]
)
def test_priors_of_another_shape_are_refused(prior):
    with pytest.raises(ValueError, match="prior: expected"):
        BayesianModel(small_net(), prior, Gaussian())


def test_wrong_parts_are_refused():
    net = small_net()
    prior = FanInGaussian(net.weight_spec)
    with pytest.raises(TypeError, match="likelihood: expected"):
        BayesianModel(net, prior, dist.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="prior: expected"):
        BayesianModel(net, "normal", Gaussian())
    with pytest.raises(TypeError, match="net: expected"):
        BayesianModel("net", prior, Gaussian())


def test_other_guides_and_samplers_work_on_it():
    model, _ = regression(num_data=12)
    x, y = data()
    guide = AutoNormal(model)
    loss = Trace_ELBO(num_particles=3, vectorize_particles=True).differentiable_loss(model, guide, x, y)
    assert torch.isfinite(loss)
    mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=3, warmup_steps=2, disable_progbar=True)
    mcmc.run(x, y)
    assert mcmc.get_samples()["weights"].shape == (3, model.weight_spec.numel)
    pyro.clear_param_store()


def test_a_bayesian_last_layer_leaves_the_body_trainable_if_asked():
    body = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).to(DTYPE)
    net = ModuleMainNet(body, select="2.*", train_rest=True)
    model = BayesianModel(net, FanInGaussian(net.weight_spec, dtype=DTYPE), Categorical())
    x, y = data(classes=3)
    model.log_likelihood(torch.randn(2, 15, dtype=DTYPE), x, y).sum().backward()
    assert sorted(n for n, p in model.named_parameters() if p.grad is not None) == [
        "net.module.0.bias",
        "net.module.0.weight",
    ]
