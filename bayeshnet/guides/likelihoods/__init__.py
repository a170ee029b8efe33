"""Likelihoods: how the outputs of a main network become a distribution over targets."""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .values import Gaussian, HeteroscedasticGaussian, Poisson

__all__ = ["Bernoulli", "Categorical", "Gaussian", "HeteroscedasticGaussian", "Likelihood", "Poisson"]
