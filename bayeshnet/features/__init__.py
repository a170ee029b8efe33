"""Features: frozen maps ``x -> (N, D)``, fitted on the first task, on which exact heads and densities stand."""

from __future__ import annotations

from .base import FeatureMap, Features
from .cache import FeatureCache
from .fourier import RandomFourier
from .frozen import Frozen
from .patches import PatchFilters
from .projection import RandomProjection

__all__ = [
    "FeatureCache",
    "FeatureMap",
    "Features",
    "Frozen",
    "PatchFilters",
    "RandomFourier",
    "RandomProjection",
]
