"""Guides: weight posteriors, Bayesian networks and likelihoods for Pyro."""

from ..deprecation import moved_names
from .auto_hypernet import AutoHypernet
from .bayesian_model import BayesianModel
from .checking import Calibration, GuideCheck, calibrate, to_arviz
from .components import MixtureKL, MixturePosterior
from .explicit_guides import LowRankGuide, MeanFieldGuide, RadialGuide
from .hypernet_guide import HypernetGuide
from .likelihoods import Bernoulli, Categorical, Gaussian, HeteroscedasticGaussian, Likelihood, Poisson
from .symmetries import Flip, Swap, Symmetry

__all__ = [
    "AutoHypernet",
    "BayesianModel",
    "Bernoulli",
    "Calibration",
    "Categorical",
    "Flip",
    "Gaussian",
    "GuideCheck",
    "HeteroscedasticGaussian",
    "HypernetGuide",
    "Likelihood",
    "LowRankGuide",
    "MeanFieldGuide",
    "MixtureKL",
    "MixturePosterior",
    "Poisson",
    "RadialGuide",
    "Swap",
    "Symmetry",
    "calibrate",
    "to_arviz",
]

__getattr__ = moved_names(
    __name__,
    {
        "UnfoldedLIVI": "estimators.UnfoldedLIVI",
    },
)
