"""Predictions of classes by an exact head, with the parts of their uncertainty in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from ...exact import BayesianLinearHead, ExactHead
from ...inference import Prediction

__all__ = ["exact_scores", "task_prediction"]


def exact_scores(head: ExactHead, features: Tensor, learned: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute the logits of all classes and the leverage; of learned examples, as if each had been left out.

    Args:
        head: the head.
        features: ``(N, D)``.
        learned: their classes, if they have been learned.
    """
    if not isinstance(head, BayesianLinearHead):
        logits = head.logits(features) if learned is None else head.left_out_logits(features, learned)
        return logits, logits.new_zeros(len(features))
    found = head.predict(features)
    if learned is None:
        return (found.mean if found.logits is None else found.logits), found.leverage
    rest = (1 - found.leverage).clamp_min(torch.finfo(found.leverage.dtype).eps)
    return head.left_out_logits(features, learned), found.leverage / rest


def task_prediction(logits: Tensor, leverage: Tensor, beta: float, dtype: torch.dtype) -> Prediction:
    r"""Return the prediction of the classes of a task.

    Unknown weights divide the logits by :math:`\sqrt{1 + h}`, so the entropy under known weights is that of the logits
    times this root, and the difference of the two is the epistemic part, which is never negative. The variance of the
    probabilities over weights is that of their linearization, for independent logits :math:`l_k` of variance
    :math:`\beta^2 h / (1 + h)` each.

    Args:
        logits: of the task's classes, ``(N, C)``.
        leverage: the number :math:`h`, ``(N,)``.
        beta: the number :math:`\beta`.
        dtype: of the prediction.
    """
    probs = logits.softmax(1)
    total = _entropy(logits)
    known = _entropy(logits * (1 + leverage).sqrt().unsqueeze(1))
    others = probs.square().sum(1, keepdim=True) - probs.square()
    variance = beta**2 * leverage / (1 + leverage)
    spread = variance.unsqueeze(1) * probs.square() * ((1 - probs).square() + others)
    epistemic = (total - known).clamp_min(0)
    probs, total, known, epistemic, spread = (part.to(dtype) for part in (probs, total, known, epistemic, spread))
    return Prediction(probs, total, known, epistemic, spread, kind="classification", num_samples=1)


def _entropy(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)
