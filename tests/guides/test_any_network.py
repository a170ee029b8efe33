"""Any module as the main network under a Pyro prior: perceptron, LeNet, transformer encoder, LSTM."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.func import functional_call

from bayeshnet.distributions import HypernetPosterior
from bayeshnet.estimators import LIVI
from bayeshnet.guides import BayesianModel, Categorical, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import ImplicitELBO, Predictive
from bayeshnet.mnets import MLP, LeNet

CLASSES = 3


class Recurrent(nn.Module):
    """An LSTM over sequences ``(N, T, 2)`` and a linear layer on its last state."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Attentive(nn.Module):
    """A transformer encoder over sequences ``(N, T, 4)`` and a linear layer on the mean of its outputs."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


NETWORKS = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, CLASSES)), (5,)),
    "our perceptron": (lambda: MLP(5, CLASSES, hidden_layers=(4,), no_weights=True, verbose=False), (5,)),
    "LeNet": (lambda: LeNet(in_shape=(28, 28, 1), num_classes=CLASSES, arch="mnist_small", verbose=False), (28 * 28,)),
    "transformer encoder": (Attentive, (6, 4)),
    "LSTM": (Recurrent, (6, 2)),
}


def made(name):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    net = make()
    size = sum(p.numel() for p in net.parameters()) or net.weight_spec.numel
    model = BayesianModel(net, dist.Normal(0.0, 0.5).expand([size]).to_event(1), Categorical(), num_data=40)
    hnet = HMLP(
        [list(s) for s in model.weight_spec.shapes],
        uncond_in_size=2,
        cond_in_size=0,
        num_cond_embs=0,
        layers=[4],
        verbose=False,
    )
    guide = HypernetGuide(HypernetPosterior(hnet, sigma=0.05, weight_spec=model.weight_spec), LIVI(4))
    return net, model, guide, (torch.randn(5, *shape), torch.randint(CLASSES, (5,)))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_program_is_the_module_under_each_draw(name):
    """Log-density of targets under particles in one plate, against the plain module with those weights, one by one."""
    net, model, guide, (x, y) = made(name)
    with torch.no_grad():
        particles = pyro.plate("particles", 3, dim=-2)
        drawn = poutine.trace(particles(guide)).get_trace(x, y)
        trace = poutine.trace(poutine.replay(particles(model), drawn)).get_trace(x, y)
        trace.compute_log_prob()
        weights = drawn.nodes["weights"]["value"][:, 0]
        expected = []
        for w in weights:
            tensors = model.weight_spec.unflatten(w)
            own = isinstance(net, (MLP, LeNet))
            out = net(x, weights=list(tensors.values())) if own else functional_call(net, tensors, (x,))
            expected.append(40 / 5 * out.log_softmax(-1)[range(5), y])
        prior = torch.distributions.Normal(0.0, 0.5).log_prob(weights).sum(-1)
    torch.testing.assert_close(trace.nodes["y"]["log_prob"], torch.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trace.nodes["weights"]["log_prob"].reshape(-1), prior)


@pytest.mark.parametrize("loss", [Trace_ELBO, ImplicitELBO])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_trains_and_predicts(name, loss):
    net, model, guide, batch = made(name)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss(num_particles=2, vectorize_particles=True))
    before = [p.detach().clone() for p in guide.parameters()]
    assert all(0 < svi.step(*batch) < float("inf") for _ in range(2))
    assert all((a != b).any() for a, b in zip(before, guide.parameters(), strict=True))
    prediction = Predictive(guide, net, model.likelihood, num_samples=3)(batch[0])
    torch.testing.assert_close(prediction.mean.sum(-1), torch.ones(5))
