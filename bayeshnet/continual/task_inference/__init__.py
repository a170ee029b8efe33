"""Task inference: criteria of uncertainty, densities of the inputs, abstention."""

from __future__ import annotations

from .abstention import Abstention
from .combination import Combination
from .criteria import CRITERIA, Criterion
from .density import DensitySettings, TaskDensity, log_densities
from .learning import EvidenceSettings
from .prediction import StreamPrediction

__all__ = [
    "CRITERIA",
    "Abstention",
    "Combination",
    "Criterion",
    "DensitySettings",
    "EvidenceSettings",
    "StreamPrediction",
    "TaskDensity",
    "log_densities",
]
