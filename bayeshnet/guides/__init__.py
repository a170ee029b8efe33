"""Guides: weight posteriors, Bayesian networks and likelihoods for Pyro."""

from ..deprecation import moved_names
from .auto_hypernet import AutoHypernet
from .bayesian_model import BayesianModel
from .explicit_guides import LowRankGuide, MeanFieldGuide, RadialGuide
from .hypernet_guide import HypernetGuide
from .likelihoods import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Likelihood, Poisson

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
]

__getattr__ = moved_names(
    __name__,
    {
        "UnfoldedLIVI": "estimators.UnfoldedLIVI",
    },
)
