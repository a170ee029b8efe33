"""Losses that learners add to the bound: output regularizers, outlier exposure, coresets."""

from __future__ import annotations

from .coreset import Coreset
from .outlier_exposure import NoiseOutliers, PatchOutliers, PseudoOutliers
from .output_regularizer import OutputRegularizer

__all__ = ["Coreset", "NoiseOutliers", "OutputRegularizer", "PatchOutliers", "PseudoOutliers"]
