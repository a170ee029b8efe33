"""Predictions are made in evaluation mode, which is restored afterwards, with dropout on request."""

import pytest
import torch
from torch import nn

from bayeshnet.guides import Gaussian, MeanFieldGuide
from bayeshnet.inference import Predictive
from bayeshnet.inference.reference import DrawnPosterior
from bayeshnet.mnets import MLP, ModuleMainNet

X = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))


def own(**options):
    return MLP(2, 1, hidden_layers=(8,), dropout_rate=0.5, no_weights=True, verbose=False, **options)


NETWORKS = {
    "torch's dropout": lambda: nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 1)),
    "ours": own,
}


def predict(net, w, **options):
    posterior = DrawnPosterior(w, net.weight_spec)
    return Predictive(posterior, net, Gaussian(0.1), 4, **options)


def made(kind):
    net = NETWORKS[kind]()
    net = net if hasattr(net, "weight_spec") else ModuleMainNet(net)
    # One weight vector four times: all that differs between draws is dropout.
    return net, torch.randn(1, net.weight_spec.numel, generator=torch.Generator().manual_seed(1)).expand(4, -1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
def test_dropout_is_off_unless_it_is_asked_for(kind, training):
    net, w = made(kind)
    net.train(training)
    found = predict(net, w)(X)
    expected = net.eval()(X, weights=net.weight_spec.split(w[0]))
    net.train(training)
    torch.testing.assert_close(found.mean, expected)
    torch.testing.assert_close(found.epistemic, torch.zeros(7), atol=1e-6, rtol=0)
    assert (predict(net, w, mc_dropout=True)(X).epistemic > 0).any()
    y = torch.zeros(7)
    predictive = predict(net, w)
    assert torch.equal(predictive.log_likelihood(X, y), predictive.log_likelihood(X, y))
    assert all(part.training == training for part in net.modules())


@pytest.mark.parametrize("mc_dropout", [False, True])
def test_modes_of_parts_are_restored_and_statistics_are_left_alone(mc_dropout):
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    net[1].running_mean += 1.0
    net[2].eval()
    predictive = Predictive(MeanFieldGuide(net), net, Gaussian(0.1), 5, mc_dropout=mc_dropout)
    whole = predictive(X, generator=torch.Generator().manual_seed(0))
    part = predictive(X[:2], generator=torch.Generator().manual_seed(0))
    assert [part.training for part in net] == [True, True, False, True]
    assert (net[1].running_mean == 1.0).all()
    assert int(net[1].num_batches_tracked) == 0
    if not mc_dropout:
        torch.testing.assert_close(part.mean, whole.mean[:2])


class Failing(nn.Linear):
    def forward(self, x):
        if not self.training:
            raise ZeroDivisionError
        return super().forward(x)


def test_modes_are_restored_after_an_error():
    net = Failing(2, 1)
    with pytest.raises(ZeroDivisionError):
        Predictive(MeanFieldGuide(net), net, Gaussian(0.1), 2)(X)
    assert net.training


def test_the_choice_is_yes_or_no():
    net, w = made("ours")
    with pytest.raises(TypeError, match="mc_dropout"):
        predict(net, w, mc_dropout=0.5)
