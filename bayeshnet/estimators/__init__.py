"""Estimators of the KL between a weight distribution and a prior, behind one contract."""

from __future__ import annotations

from .auto import Auto
from .avb import AVB
from .base import KLEstimate, KLEstimator
from .change_of_variables import ChangeOfVariables
from .closed_form import ClosedForm
from .diagnostics import Diagnosis, diagnose
from .importance import ImportanceSandwich
from .information import MutualInformation
from .iwhvi import IWHVI
from .kernel_ratio import KernelRatio
from .livi import LIVI
from .livi_stochastic import StochasticLIVI
from .monte_carlo import MonteCarlo
from .nearest_neighbour import NearestNeighbour
from .nu_method import NuMethod
from .sivi import SIVI
from .ssge import SSGE
from .stein import Stein

__all__ = [
    "AVB",
    "IWHVI",
    "LIVI",
    "SIVI",
    "SSGE",
    "Auto",
    "ChangeOfVariables",
    "ClosedForm",
    "Diagnosis",
    "ImportanceSandwich",
    "KLEstimate",
    "KLEstimator",
    "KernelRatio",
    "MonteCarlo",
    "MutualInformation",
    "NearestNeighbour",
    "NuMethod",
    "Stein",
    "StochasticLIVI",
    "diagnose",
]
