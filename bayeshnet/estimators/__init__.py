"""Estimators of the KL between a weight distribution and a prior, behind one contract."""

from __future__ import annotations

from .base import KLEstimate, KLEstimator
from .closed_form import ClosedForm
from .importance import ImportanceSandwich
from .information import MutualInformation
from .livi import LIVI
from .monte_carlo import MonteCarlo

__all__ = [
    "LIVI",
    "ClosedForm",
    "ImportanceSandwich",
    "KLEstimate",
    "KLEstimator",
    "MonteCarlo",
    "MutualInformation",
]
