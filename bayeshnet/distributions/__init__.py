"""Weight distributions in the manner of ``torch.distributions``, and the posteriors that make them from a condition."""

from __future__ import annotations

from . import kl  # registers the closed forms
from .base import WeightDistribution, WeightDraw
from .dirac import Dirac
from .forms import as_gaussian, as_low_rank
from .gaussian import LowRankGaussian, MeanFieldGaussian
from .mixture import Mixture
from .priors import FanInGaussian, ScaleMixturePrior
from .radial import Radial
from .semi_implicit import SemiImplicit, SharedNoise

__all__ = [
    "Dirac",
    "FanInGaussian",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "Mixture",
    "Radial",
    "ScaleMixturePrior",
    "SemiImplicit",
    "SharedNoise",
    "WeightDistribution",
    "WeightDraw",
    "as_gaussian",
    "as_low_rank",
    "kl",
]
