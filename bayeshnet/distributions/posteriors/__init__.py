"""Posteriors: modules with learned parameters that return a weight distribution for a condition."""

from __future__ import annotations

from .base import SampledNetwork, WeightPosterior
from .conditional import ConditionalPosterior
from .explicit import DiracPosterior, LowRankPosterior, MeanFieldPosterior, RadialPosterior
from .generated import GeneratedPosterior
from .implicit import HypernetPosterior
from .sigma import FixedSigma, GeneratedSigma, LearnedSigma, ModuleSigma, ParameterSigma

__all__ = [
    "ConditionalPosterior",
    "DiracPosterior",
    "FixedSigma",
    "GeneratedPosterior",
    "GeneratedSigma",
    "HypernetPosterior",
    "LearnedSigma",
    "LowRankPosterior",
    "MeanFieldPosterior",
    "ModuleSigma",
    "ParameterSigma",
    "RadialPosterior",
    "SampledNetwork",
    "WeightPosterior",
]
