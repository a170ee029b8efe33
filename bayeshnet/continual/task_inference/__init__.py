"""Task inference: criteria of uncertainty, densities of the inputs, abstention."""

from __future__ import annotations

from .abstention import Abstention
from .criteria import CRITERIA, Criterion
from .density import DensitySettings, TaskDensity, log_densities
from .prediction import StreamPrediction

__all__ = ["CRITERIA", "Abstention", "Criterion", "DensitySettings", "StreamPrediction", "TaskDensity", "log_densities"]
