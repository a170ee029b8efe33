"""Predictions of classes by an exact head, with the parts of their uncertainty in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...errors import type_error
from ...exact import BayesianLinearHead, ExactHead, GaussianClassesHead
from ...exact.densities import class_scores
from ...inference import Prediction

__all__ = ["ExactScores", "exact_scores", "task_evidence", "task_prediction"]


@dataclass(frozen=True)
class ExactScores:
    """Scores of ``N`` inputs under all classes.

    Args:
        logits: ``(N, C)``, whose softmax are the probabilities.
        leverage: the number :math:`h`, ``(N,)``; 0 where a head has none.
        log_input: log-density of the features, but for a number that is the same for all inputs, ``(N,)``.
        log_density: log-density of the features under each class, all of one covariance, ``(N, C)``.
        distance: squared Mahalanobis distance from the mean of each class, ``(N, C)``.
    """

    logits: Tensor
    leverage: Tensor
    log_input: Tensor
    log_density: Tensor
    distance: Tensor

    @classmethod
    def joined(cls, parts: Sequence[ExactScores]) -> ExactScores:
        """Return the scores of several chunks of inputs as one."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def exact_scores(head: ExactHead, features: Tensor, learned: Tensor | None = None) -> ExactScores:
    """Compute the scores of inputs; of learned examples, as if each had been left out.

    Args:
        head: of classes.
        features: ``(N, D)``.
        learned: their classes, if they have been learned.
    """
    if isinstance(head, GaussianClassesHead):
        if learned is None:
            density, distance = head.log_density(features), head.distances(features)
            logits = head.logits(features)
        else:
            density, distance = head.left_out_scores(features, learned)
            logits = head.left_out_logits(features, learned)
        total = logits.logsumexp(1)
        return ExactScores(logits, torch.zeros_like(total), total, density, distance * head.fit().degrees)
    if not isinstance(head, BayesianLinearHead):
        raise type_error("head", expected="a BayesianLinearHead or a GaussianClassesHead", got=head)
    found = head.predict(features)
    weight = None if learned is None else head.mean_weights[torch.searchsorted(head.labels, learned)].unsqueeze(1)
    of_classes = class_scores(head, found, learned, weight)
    logits, leverage = found.mean if found.logits is None else found.logits, found.leverage
    number = leverage.new_tensor(head.count + 1)
    if learned is not None and weight is not None:
        logits = head.left_out_logits(features, learned)
        inner, number = weight[:, 0] * leverage, number - weight[:, 0]
        leverage = leverage / (1 - inner).clamp_min(torch.finfo(leverage.dtype).eps)
    return ExactScores(logits, leverage, -0.5 * number * leverage.log1p(), of_classes.log_density, of_classes.distance)


def task_evidence(log_density: Tensor, counts: Tensor) -> Tensor:
    r"""Return the log-density under the classes of a task, :math:`\log \sum_c \frac{n_c}{n} p(\varphi | c)`, ``(N,)``.

    Args:
        log_density: of its classes, ``(N, C)``.
        counts: numbers of their examples, ``(C,)``; classes without any are as likely as one another.
    """
    share = counts / counts.sum() if bool(counts.sum() > 0) else torch.full_like(counts, 1 / len(counts))
    return (log_density + share.log()).logsumexp(1)


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
    return Prediction(
        probs, total, known, epistemic, spread, kind="classification", num_samples=1, logits=logits.to(dtype)
    )


def _entropy(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)
