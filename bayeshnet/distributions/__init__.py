"""Weight distributions in the manner of ``torch.distributions``, and the posteriors that make them from a condition."""

from __future__ import annotations

from . import kl  # registers the closed forms
from .base import WeightDistribution, WeightDraw
from .dirac import Dirac
from .embedded import embed
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .gaussian_forms import as_gaussian, as_low_rank
from .mixture import Mixture
from .posteriors import (
    ConditionalPosterior,
    DiracPosterior,
    FixedSigma,
    GeneratedPosterior,
    GeneratedSigma,
    HypernetPosterior,
    LearnedSigma,
    LowRankPosterior,
    MeanFieldPosterior,
    ModuleSigma,
    ParameterSigma,
    RadialPosterior,
    SampledNetwork,
    WeightPosterior,
)
from .priors import FanInGaussian, ScaleMixturePrior
from .radial import Radial
from .semi_implicit import SemiImplicit, SharedNoise

__all__ = [
    "ConditionalPosterior",
    "Dirac",
    "DiracPosterior",
    "FanInGaussian",
    "FixedSigma",
    "GeneratedPosterior",
    "GeneratedSigma",
    "HypernetPosterior",
    "LearnedSigma",
    "LowRankGaussian",
    "LowRankPosterior",
    "MeanFieldGaussian",
    "MeanFieldPosterior",
    "Mixture",
    "ModuleSigma",
    "ParameterSigma",
    "Radial",
    "RadialPosterior",
    "SampledNetwork",
    "ScaleMixturePrior",
    "SemiImplicit",
    "SharedNoise",
    "WeightDistribution",
    "WeightDraw",
    "WeightPosterior",
    "as_gaussian",
    "as_low_rank",
    "embed",
    "kl",
]
