"""Metrics as pure functions of tensors: fractions in [0, 1] and nats, never percent."""

from ..deprecation import moved_names
from .classification import ReliabilityBins, accuracy, brier, ece, nll, reliability_bins
from .continual import (
    ContinualSummary,
    average_accuracy,
    backward_transfer,
    during_accuracy,
    final_accuracy,
    forgetting,
    forward_transfer,
    summarize,
    task_inference_accuracy,
)
from .detection import auroc, fpr95, fpr_at
from .distances import median_distance, mmd, sliced_wasserstein
from .joint import joint_nll
from .pareto import ParetoSmoothing, fit_generalized_pareto, pareto_smoothing
from .regression import (
    coverage,
    crps,
    gaussian_coverage,
    gaussian_crps,
    gaussian_log_likelihood,
    mse,
    rmse,
    sample_log_likelihood,
)
from .sample_comparison import SampleComparison, compare_samples, predictive_total_variation
from .two_samples import ClassifierTest, classifier_test
from .uncertainty import agreement, confidence, entropy, expected_entropy, mutual_information

__all__ = [
    "ClassifierTest",
    "ContinualSummary",
    "ParetoSmoothing",
    "ReliabilityBins",
    "SampleComparison",
    "accuracy",
    "agreement",
    "auroc",
    "average_accuracy",
    "backward_transfer",
    "brier",
    "classifier_test",
    "compare_samples",
    "confidence",
    "coverage",
    "crps",
    "during_accuracy",
    "ece",
    "entropy",
    "expected_entropy",
    "final_accuracy",
    "fit_generalized_pareto",
    "forgetting",
    "forward_transfer",
    "fpr95",
    "fpr_at",
    "gaussian_coverage",
    "gaussian_crps",
    "gaussian_log_likelihood",
    "joint_nll",
    "median_distance",
    "mmd",
    "mse",
    "mutual_information",
    "nll",
    "pareto_smoothing",
    "predictive_total_variation",
    "reliability_bins",
    "rmse",
    "sample_log_likelihood",
    "sliced_wasserstein",
    "summarize",
    "task_inference_accuracy",
]

__getattr__ = moved_names(
    __name__,
    {
        "summarise": "metrics.summarize",
    },
)
