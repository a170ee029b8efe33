"""Exact heads: linear regression and Gaussian classes learned in closed form from order-free sums over examples."""

from __future__ import annotations

from .base import ExactHead
from .gaussian import GaussianClassesHead
from .linear import BayesianLinearHead, LinearPrediction

__all__ = [
    "BayesianLinearHead",
    "ExactHead",
    "GaussianClassesHead",
    "LinearPrediction",
]
