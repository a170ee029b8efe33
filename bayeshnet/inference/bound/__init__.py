"""The evidence lower bound: its parts, and two ways to evaluate them, direct and traced."""

from .after import fit_alarms, heat_alarms, told, weight_alarms
from .direct import DirectEvaluation, check_batch, is_direct
from .evaluation import Evaluation, EvaluationSettings
from .local_noise import independent_outputs, local_outputs
from .plates import without_loose_parameters, written_for_plates
from .searched import BoundCheck, check_bound
from .terms import BoundParts, ELBOTerms, join
from .traced import TracedEvaluation, count_plates

__all__ = [
    "BoundCheck",
    "BoundParts",
    "DirectEvaluation",
    "ELBOTerms",
    "Evaluation",
    "EvaluationSettings",
    "TracedEvaluation",
    "check_batch",
    "check_bound",
    "count_plates",
    "fit_alarms",
    "heat_alarms",
    "independent_outputs",
    "is_direct",
    "join",
    "local_outputs",
    "told",
    "weight_alarms",
    "without_loose_parameters",
    "written_for_plates",
]
