"""Estimators that work on the latent of a hypernetwork: its mutual information with the weights, in n dimensions."""

from __future__ import annotations

from .importance import ImportanceSandwich
from .iwhvi import IWHVI
from .livi import LIVI
from .livi_stochastic import StochasticLIVI
from .livi_unfolded import UnfoldedLIVI
from .sivi import SIVI

__all__ = ["IWHVI", "LIVI", "SIVI", "ImportanceSandwich", "StochasticLIVI", "UnfoldedLIVI"]
