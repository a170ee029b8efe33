"""Selected parameters of a trained network: the rest is frozen, or trained if asked."""

import copy

import pytest
import torch
from torch import nn

from bayeshnet.builders import MeanFieldWeights
from bayeshnet.continual import PriorFocused, SharedHead, Training
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Categorical, MeanFieldGuide
from bayeshnet.inference import Predictive, fit
from bayeshnet.mnets import ModuleMainNet
from bayeshnet.tasks import Split, Task


class Body(nn.Module):
    """A feature extractor with batch norm, and a head."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.features(x))


def spirals(num=60):
    x = torch.randn(num, 2, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long()


def fitted(net, steps=20):
    guide = MeanFieldGuide(net)
    model = BayesianModel(net, FanInGaussian(net.weight_spec), Categorical())
    before = copy.deepcopy(net.state_dict())
    fit(model, guide, spirals(), num_steps=steps, lr=1e-2)
    return guide, before, net.state_dict()


def backbone(state):
    return {name: value for name, value in state.items() if name.startswith("module.features")}


def test_what_is_not_selected_does_not_change():
    torch.manual_seed(0)
    net = ModuleMainNet(Body(), select="head.*")
    _, before, after = fitted(net)
    assert len(backbone(before)) == 7
    for name, value in backbone(before).items():
        assert torch.equal(value, after[name]), name


def test_the_rest_is_trained_if_asked():
    torch.manual_seed(0)
    net = ModuleMainNet(Body(), select="head.*", batch_norm="eval", train_rest=True)
    _, before, after = fitted(net)
    trained = [name for name, value in backbone(before).items() if not torch.equal(value, after[name])]
    assert trained == [f"module.features.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias")]


def test_frozen_parameters_of_the_module_stay_frozen_with_train_rest():
    body = Body()
    body.features[0].weight.requires_grad_(False)
    net = ModuleMainNet(body, select="head.*", train_rest=True)
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["module.features.0.weight"]
    assert all(p.requires_grad for n, p in body.named_parameters() if n != "features.0.weight")


def test_selected_batch_norm_in_training_mode_needs_a_policy():
    x = spirals()[0]
    frozen = ModuleMainNet(Body(), select="head.*")
    assert frozen(x, weights=list(frozen.weight_spec.split(frozen.module_weights()))).shape == (60, 2)
    for select in (None, "features.1.weight"):
        net = ModuleMainNet(Body(), select=select)
        with pytest.raises(ValueError, match="batch_norm: expected 'eval', 'batch' or 'track'"):
            net(x, weights=list(net.weight_spec.split(net.module_weights())))
    open_rest = ModuleMainNet(Body(), select="head.*", train_rest=True)
    with pytest.raises(ValueError, match="batch_norm: expected"):
        open_rest(x, weights=list(open_rest.weight_spec.split(open_rest.module_weights())))


def test_a_trained_network_with_bayesian_last_layer_predicts_at_least_as_well_as_its_features_allow():
    torch.manual_seed(0)
    x, y = spirals()
    body = Body()
    optimizer = torch.optim.Adam(body.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(body(x), y).backward()
        optimizer.step()
    net = ModuleMainNet(body, select="head.*")
    guide, _, _ = fitted(net, 400)
    prediction = Predictive(guide, net, Categorical(), 200)(x)
    assert (prediction.mean.argmax(-1) == y).float().mean() >= 0.95


def test_learners_leave_the_rest_alone():
    x, y = spirals()
    task = Task("a", Split(x, y), Split(x, y), 2)
    net = ModuleMainNet(Body(), select="head.*")
    learner = PriorFocused(net, MeanFieldWeights(), heads=SharedHead(), training=Training(steps=5))
    state = learner.learn(learner.learn(None, task), task)
    for name, value in backbone(net.state_dict()).items():
        assert torch.equal(value, state.net.state_dict()[name]), name
