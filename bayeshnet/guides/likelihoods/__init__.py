"""Likelihoods: distributions over targets given the outputs of a main network."""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .values import Gaussian, HeteroscedasticGaussian, Poisson

__all__ = ["Bernoulli", "Categorical", "Gaussian", "HeteroscedasticGaussian", "Likelihood", "Poisson"]
