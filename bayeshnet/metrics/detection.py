"""Metrics of the detection of OOD inputs by a score: AUROC and the false-positive rate at a given recall."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import MissingExtraError, check_number, value_error
from ._checks import check_ordered, check_same_device

__all__ = ["auroc", "fpr95", "fpr_at"]


def auroc(known: Tensor, foreign: Tensor) -> Tensor:
    r"""Compute the area under the ROC curve: the probability that an OOD input scores above a known one.

    Ties count half. Since only the order matters, entropies, negative log-densities or logits may serve as scores.
    Computed by torchmetrics.

    Args:
        known: scores of in-distribution inputs ``(N,)``; larger means less like the training data.
        foreign: scores of OOD inputs ``(M,)``.

    Returns:
        Fraction of shape ``()``: 1 separates perfectly, 1/2 is chance.

    Raises:
        MissingExtraError: if torchmetrics is not installed.

    Example:
        >>> auroc(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.9]))
        tensor(0.8750)
    """
    scores, positive = _ranked(known, foreign)
    found: Tensor = _torchmetrics().binary_auroc(scores, positive, validate_args=False)
    return found


def fpr_at(known: Tensor, foreign: Tensor, recall: float = 0.95) -> Tensor:
    """Compute the fraction of OOD inputs that are accepted if at least ``recall`` of the known inputs are.

    Args:
        known: scores of in-distribution inputs ``(N,)``; larger means less like the training data.
        foreign: scores of OOD inputs ``(M,)``.
        recall: fraction of known inputs to accept, in [0, 1].

    Returns:
        Fraction of shape ``()``: 0 is best.

    Example:
        >>> fpr_at(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.9]), recall=0.5)
        tensor(0.)
    """
    check_number("recall", recall, 0, 1)
    scores, positive = _ranked(known, foreign)
    false, true, _ = _torchmetrics().binary_roc(scores, positive, validate_args=False)
    # Known inputs are the positives, accepted if their score is low: the ROC curve with both of its axes reversed.
    accepted, mistaken = 1 - false, 1 - true
    found: Tensor = mistaken[accepted >= recall - 1e-6].min()
    return found


def fpr95(known: Tensor, foreign: Tensor) -> Tensor:
    """Compute :func:`fpr_at` a recall of 95 %.

    References:
        A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks (Hendrycks, Gimpel;
        2017).
        Enhancing the Reliability of Out-of-Distribution Image Detection in Neural Networks (Liang, Li,
        Srikant; 2018).
    """
    return fpr_at(known, foreign, 0.95)


def _ranked(known: Tensor, foreign: Tensor) -> tuple[Tensor, Tensor]:
    known, foreign = _ordered("known", known), _ordered("foreign", foreign)
    if known.is_floating_point() != foreign.is_floating_point():
        known, foreign = known.double(), foreign.double()
    check_same_device("foreign", foreign, known)
    # Ranks in [0, 1]: torchmetrics applies a sigmoid to scores outside of it, which makes large ones equal.
    _, ranks = torch.cat([known, foreign]).unique(return_inverse=True)
    scores = ranks.to(torch.get_default_dtype()) / ranks.max().clamp(min=1)
    positive = torch.cat([torch.zeros_like(known), torch.ones_like(foreign)]).long()
    return scores, positive


def _ordered(name: str, scores: Tensor) -> Tensor:
    """Return scores ``(N,)`` that can be ordered."""
    scores = check_ordered(name, scores, "a tensor of scores (N,)")
    if scores.ndim != 1:
        raise value_error(name, expected="scores of shape (N,)", got=scores)
    return scores


def _torchmetrics() -> Any:
    try:
        from torchmetrics.functional import classification
    except ImportError as error:
        raise MissingExtraError("torchmetrics", "app", "The ROC curve") from error
    return classification
