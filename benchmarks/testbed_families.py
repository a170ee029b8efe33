"""Families of the testbed and the bandit: those of the study of exactness, ensembles of ten, and dropout."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from near_exact_families import FAMILIES as NEAR
from near_exact_families import hypernetwork, start_of, trained
from near_exact_problems import Problem
from torch import Tensor, nn

from bayeshnet.distributions import DiracPosterior, FanInGaussian
from bayeshnet.guides import BayesianModel, Categorical
from bayeshnet.inference import DrawnPosterior
from bayeshnet.mnets import MLP, ModuleMainNet, PriorFunctionNet

__all__ = ["FAMILIES", "TestbedProblem", "net_of", "problem_of", "true_probs"]

MEMBERS, DROPOUT, UNITS, MASKS = 10, 0.1, 50, 400
WIDE = 0.3
"""The sigma with which the second implicit family begins; the first one begins with 0.05."""


@dataclass(frozen=True)
class TestbedProblem(Problem):
    """Two inputs, two classes, and a network of two hidden layers that is drawn from the prior.

    Attributes:
        temperature: by which the outputs of the network are divided: at low ones classes hardly overlap.
    """

    __test__ = False
    temperature: float = 0.1

    def model(self) -> BayesianModel:
        """Make the network with the prior from which the truth was drawn."""
        net = MLP(2, 2, (UNITS, UNITS), nn.ReLU(), no_weights=True, verbose=False)
        return BayesianModel(net, FanInGaussian(net.weight_spec, last_gain=1 / self.temperature), Categorical())


def problem_of(size: int, temperature: float, seed: int, seconds: float, num_test: int = 500) -> TestbedProblem:
    """Draw a true network, inputs and labels; ``num_test`` inputs to test on, whose labels are not used."""
    generator = torch.Generator().manual_seed(1000 * seed + size)
    model = TestbedProblem("", "", *[torch.zeros(0)] * 4, Categorical(), UNITS, 2, {}, 0, 0, 0, temperature).model()
    truth = model.prior.draw(1, generator).w
    x = torch.randn(size + num_test, 2, generator=generator)
    probs = model.outputs(truth, x)[0].softmax(-1)
    y = torch.multinomial(probs, 1, generator=generator).squeeze(1)
    name = f"{size}-{temperature}-{seed}"
    parts = (x[:size], y[:size], x[size:], y[size:], Categorical(), UNITS, 2, {"truth": truth[0]}, seconds, 0.0, 8)
    return TestbedProblem(name, name, *parts, temperature=temperature)


def true_probs(problem: TestbedProblem, x: Tensor) -> Tensor:
    """Probabilities of the classes under the true network ``(N, 2)``."""
    with torch.no_grad():
        return problem.model().outputs(problem.regions["truth"].unsqueeze(0), x)[0].softmax(-1)


def ensemble(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """Ten networks of highest posterior density, each from a start of its own."""
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        posterior = DiracPosterior(model.weight_spec, init=start_of(model))
        members.append(trained(model, problem, posterior, seconds / MEMBERS, seed)().loc.detach())
    return DrawnPosterior(torch.stack(members), model.weight_spec)


def with_prior_functions(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """Ten networks, to each of which a function drawn from the prior is added before it is trained."""
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        fixed = start_of(model)
        member = BayesianModel(PriorFunctionNet(model.net, 1.0, fixed), model.prior, model.likelihood)
        posterior = DiracPosterior(model.weight_spec, init=start_of(model))
        found = trained(member, problem, posterior, seconds / MEMBERS, seed)().loc.detach()
        members.append(torch.cat([found, fixed]))
    return DrawnPosterior(torch.stack(members), PriorFunctionNet(model.net).weight_spec)


def dropout(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """Dropout in training and prediction; a mask of hidden units is one of the weights that leave them."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (2, UNITS):
        layers += [nn.Linear(inputs, UNITS), nn.ReLU(), nn.Dropout(DROPOUT)]
    net = ModuleMainNet(nn.Sequential(*layers, nn.Linear(UNITS, 2)))
    training = BayesianModel(net, copy.deepcopy(model.prior), model.likelihood, strategy="loop")
    posterior = DiracPosterior(model.weight_spec, init=start_of(model))
    point = trained(training, problem, posterior, seconds, 0)().loc.detach()
    keep = (torch.rand(MASKS, 2, UNITS, generator=torch.Generator().manual_seed(1)) > DROPOUT) / (1 - DROPOUT)
    draws = []
    for mask in keep:
        tensors = model.weight_spec.split(point)
        tensors[2], tensors[4] = tensors[2] * mask[0], tensors[4] * mask[1]
        draws.append(torch.cat([t.flatten() for t in tensors]))
    return DrawnPosterior(torch.stack(draws), model.weight_spec)


def net_of(model: BayesianModel, posterior: Any) -> BayesianModel:
    """The model whose network takes the draws of a posterior, those with prior functions included."""
    if posterior.weight_spec.numel == model.weight_spec.numel:
        return model
    net = PriorFunctionNet(model.net)
    return BayesianModel(net, FanInGaussian(net.weight_spec), model.likelihood)


FAMILIES: dict[str, Callable[..., Any]] = {
    "one network": NEAR["one network"],
    "dropout": dropout,
    "ensemble of 10": ensemble,
    "ensemble of 10, prior functions": with_prior_functions,
    "mean field": NEAR["mean field"],
    "low rank": NEAR["low rank"],
    "linear hypernetwork": NEAR["linear hypernetwork"],
    "implicit": NEAR["implicit, sigma learned"],
    "implicit, wide at first": hypernetwork(32, (64,), nn.Tanh(), None, WIDE),
    "5 mean fields": NEAR["5 mean fields"],
    "short sampler": NEAR["short sampler"],
}
