"""Builders of main networks and of weight posteriors, from a few settings and with an initialization that trains.

Example:
    Make a module Bayesian: build a posterior over its weights, and the prior to which it belongs.

    >>> import torch
    >>> from bayeshnet import WeightSpec
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    >>> builder, weight_spec = ImplicitGenerator(latent_size=8), WeightSpec.of(net)
    >>> posterior, prior = builder.build(weight_spec), builder.prior(weight_spec)
    >>> posterior.rsample((5,)).shape
    torch.Size([5, 97])

    With Pyro, ``BayesianModel(net, prior, Gaussian(0.1), num_data)`` is the model and ``HypernetGuide(posterior)`` the
    guide, see :mod:`bayeshnet.guides`; a table of all builders is in :mod:`bayeshnet.distributions`.
"""

from __future__ import annotations

from ..deprecation import moved_names
from .base import ConditionedPosterior, PosteriorBuilder
from .explicit import LowRankWeights, MeanFieldWeights, PointWeights, RadialWeights
from .generated import DiracGenerator, HyperHypernetwork, ImplicitGenerator, MeanFieldGenerator, RadialGenerator
from .networks import ACTIVATIONS, ConvNetwork, MLPNetwork, NetworkBuilder

__all__ = [
    "ACTIVATIONS",
    "ConditionedPosterior",
    "ConvNetwork",
    "DiracGenerator",
    "HyperHypernetwork",
    "ImplicitGenerator",
    "LowRankWeights",
    "MLPNetwork",
    "MeanFieldGenerator",
    "MeanFieldWeights",
    "NetworkBuilder",
    "PointWeights",
    "PosteriorBuilder",
    "RadialGenerator",
    "RadialWeights",
]

__getattr__ = moved_names(__name__, {"PosteriorFamily": "builders.PosteriorBuilder"})
