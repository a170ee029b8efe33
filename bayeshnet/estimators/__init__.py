"""Estimators of the KL between a weight distribution and a prior, behind one contract."""

from __future__ import annotations

from ..deprecation import moved_names
from .auto import Auto
from .base import DensityEstimator, DrawEstimator, KLEstimate, KLEstimator, MutualInformation
from .change_of_variables import ChangeOfVariables
from .closed_form import ClosedForm
from .diagnostics import Diagnosis, diagnose
from .intervals import KLInterval, kl_interval
from .latent import IWHVI, LIVI, SIVI, ImportanceSandwich, StochasticLIVI, UnfoldedLIVI
from .monte_carlo import MonteCarlo
from .samples import AVB, SSGE, KernelRatio, NearestNeighbor, NuMethod, Stein

__all__ = [
    "AVB",
    "IWHVI",
    "LIVI",
    "SIVI",
    "SSGE",
    "Auto",
    "ChangeOfVariables",
    "ClosedForm",
    "DensityEstimator",
    "Diagnosis",
    "DrawEstimator",
    "ImportanceSandwich",
    "KLEstimate",
    "KLEstimator",
    "KLInterval",
    "KernelRatio",
    "MonteCarlo",
    "MutualInformation",
    "NearestNeighbor",
    "NuMethod",
    "Stein",
    "StochasticLIVI",
    "UnfoldedLIVI",
    "diagnose",
    "kl_interval",
]

__getattr__ = moved_names(
    __name__,
    {
        "NearestNeighbour": "estimators.NearestNeighbor",
    },
)
