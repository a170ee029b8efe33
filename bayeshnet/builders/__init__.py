"""Builders: main networks and weight posteriors from a few settings, with the initialization that trains."""

from __future__ import annotations

from .base import ConditionedPosterior, PosteriorFamily
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
    "PosteriorFamily",
    "RadialGenerator",
    "RadialWeights",
]
