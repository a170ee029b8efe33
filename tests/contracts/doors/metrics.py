"""Doors of :mod:`bayeshnet.metrics`."""

from __future__ import annotations

import torch

from tests.support.doors import Door


def _draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def _probs(*shape: int) -> torch.Tensor:
    return _draws(*shape).softmax(-1)


_PAIR = {"probs": _probs(4, 3), "y": torch.tensor([0, 2, 1, 1])}
_TOGETHER = {"samples": _probs(5, 4, 3), "y": torch.tensor([0, 2, 1, 1])}
_VALUES = {"mean": _draws(4, 2), "y": _draws(4, 2) + 1}
_GAUSSIAN = {"mean": _draws(4, 1), "std": _draws(4).exp(), "y": _draws(4, 1) + 1}
_DRAWN = {"samples": _draws(5, 4, 1), "y": _draws(4, 1) + 1}
_SCORES = {"known": _draws(5), "foreign": _draws(4) + 1}
_MATRIX = {"matrix": torch.tensor([[0.9, 0.5, 0.4], [0.8, 0.7, 0.6], [0.6, 0.5, 0.9]])}
_SETS = {"x": _draws(5, 2), "y": _draws(4, 2) + 1}

DOORS: dict[str, Door] = {
    "ClassifierTest": Door(closed="a record that classifier_test makes"),
    "ContinualSummary": Door(closed="a record that summarize makes"),
    "ReliabilityBins": Door(closed="a record that reliability_bins makes"),
    "SampleComparison": Door(closed="a record that compare_samples makes"),
    "accuracy": Door(_PAIR),
    "agreement": Door({"samples": _probs(5, 4, 3)}),
    "auroc": Door(_SCORES),
    "average_accuracy": Door(_MATRIX),
    "backward_transfer": Door(_MATRIX),
    "brier": Door(_PAIR),
    "classifier_test": Door({"x": _draws(10, 2), "y": _draws(9, 2), "generator": None}, random=True),
    "compare_samples": Door({"samples": _draws(5, 2), "reference": _draws(6, 2), "generator": None}, random=True),
    "confidence": Door({"probs": _probs(4, 3)}),
    "coverage": Door({**_DRAWN, "level": 0.9}),
    "crps": Door(_DRAWN),
    "during_accuracy": Door(_MATRIX),
    "ece": Door({**_PAIR, "num_bins": 10}),
    "entropy": Door({"probs": _probs(4, 3)}),
    "expected_entropy": Door({"samples": _probs(5, 4, 3)}),
    "final_accuracy": Door(_MATRIX),
    "forgetting": Door({**_MATRIX, "reference": "best"}),
    "forward_transfer": Door({**_MATRIX, "baseline": torch.tensor([0.3, 0.2, 0.1])}),
    "fpr95": Door(_SCORES),
    "fpr_at": Door({**_SCORES, "recall": 0.8}),
    "gaussian_coverage": Door({**_GAUSSIAN, "level": 0.9}),
    "gaussian_crps": Door(_GAUSSIAN),
    "gaussian_log_likelihood": Door(_GAUSSIAN),
    "joint_nll": Door(
        {**_TOGETHER, "size": 4, "num_pairs": 3, "smallest": 1e-9, "generator": None},
        random=True,
    ),
    "median_distance": Door(_SETS),
    "mmd": Door({**_SETS, "width": torch.tensor(1.3), "unbiased": True}),
    "mse": Door(_VALUES),
    "ParetoSmoothing": Door(closed="a record that pareto_smoothing makes"),
    "fit_generalized_pareto": Door({"exceedances": torch.tensor([0.3, 1.2, 0.1, 2.2, 0.7, 0.4, 5.0])}),
    "pareto_smoothing": Door(
        {"log_ratios": torch.linspace(-3.0, 1.0, 40)}, read=lambda found: (found.k_hat, found.log_weights.exp())
    ),
    "mutual_information": Door({"samples": _probs(5, 4, 3)}),
    "nll": Door({**_PAIR, "smallest": 1e-12}),
    "predictive_total_variation": Door({"probs": _probs(4, 3), "reference": _probs(4, 3).flip(0)}),
    "reliability_bins": Door({**_PAIR, "num_bins": 10}),
    "rmse": Door(_VALUES),
    "sample_log_likelihood": Door({**_DRAWN, "noise_std": _draws(4).exp()}),
    "sliced_wasserstein": Door({**_SETS, "num_projections": 20, "order": 2.0, "generator": None}, random=True),
    "summarize": Door(_MATRIX),
    "task_inference_accuracy": Door({"scores": _draws(4, 3), "task": torch.tensor([0, 1, 2, 1]), "batch_size": 1}),
}
