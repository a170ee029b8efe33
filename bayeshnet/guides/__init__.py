"""Guides: weight posteriors, Bayesian networks and likelihoods for Pyro."""

from .bayesian_model import BayesianModel
from .explicit_guides import LowRankGuide, MeanFieldGuide, RadialGuide
from .hypernet_guide import HypernetGuide
from .likelihoods import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Likelihood, Poisson

__all__ = [
    "BayesianModel",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "HeteroscedasticGaussian",
    "HypernetGuide",
    "Likelihood",
    "LowRankGuide",
    "MeanFieldGuide",
    "Poisson",
    "RadialGuide",
]
