"""Bayesian linear regression with known noise, of which everything is known."""

import torch
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import MeanFieldGaussian
from bayeshnet.guides import BayesianModel, Gaussian
from bayeshnet.mnets import ModuleMainNet
from tests.support.guide_toys import data
from tests.support.oracles import DTYPE

NOISE = 0.4


def conjugate():
    """Model, batch, design matrix, posterior mean and covariance, logarithm of the evidence."""
    net = ModuleMainNet(torch.nn.Linear(2, 1))
    spec = net.weight_spec
    prior = MeanFieldGaussian(torch.zeros(3, dtype=DTYPE), torch.full((3,), 1.5, dtype=DTYPE), spec)
    model = BayesianModel(net, prior, Gaussian(torch.tensor(NOISE, dtype=DTYPE)))
    x, y = data(N=20)
    design = torch.cat([x, torch.ones(20, 1, dtype=DTYPE)], 1)
    covariance = torch.linalg.inv(design.T @ design / NOISE**2 + torch.eye(3, dtype=DTYPE) / 1.5**2)
    mean = (covariance @ design.T @ y / NOISE**2)[:, 0]
    marginal = design @ design.T * 1.5**2 + NOISE**2 * torch.eye(20, dtype=DTYPE)
    evidence = MultivariateNormal(torch.zeros(20, dtype=DTYPE), marginal).log_prob(y[:, 0])
    return model, (x, y), design, mean, covariance, evidence
