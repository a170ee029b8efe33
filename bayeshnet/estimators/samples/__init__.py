"""Estimators that work on weight draws alone: kernels, classifiers, neighbors."""

from __future__ import annotations

from .avb import AVB
from .kernel_ratio import KernelRatio
from .nearest_neighbor import NearestNeighbor
from .nu_method import NuMethod
from .ssge import SSGE
from .stein import Stein

__all__ = ["AVB", "SSGE", "KernelRatio", "NearestNeighbor", "NuMethod", "Stein"]
