"""Guides: weight posteriors, Bayesian networks and likelihoods for Pyro."""

from .auto_hypernet import AutoHypernet
from .bayesian_model import BayesianModel
from .explicit_guides import LowRankGuide, MeanFieldGuide, RadialGuide
from .hypernet_guide import HypernetGuide
from .likelihoods import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Likelihood, Poisson
from .unfolded_livi import UnfoldedLIVI

__all__ = [
    "AutoHypernet",
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
    "UnfoldedLIVI",
]
