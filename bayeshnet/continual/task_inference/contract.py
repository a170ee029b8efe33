"""The part of the predictions under all tasks that criteria use."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ...inference import Prediction
from .combination import Combination

__all__ = ["TaskPredictions"]


class TaskPredictions(Protocol):
    """The part of :class:`~bayeshnet.continual.StreamPrediction` that criteria use."""

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """Predictions under each task."""

    @property
    def log_density(self) -> Tensor | None:
        """Log-density of the inputs under each task, ``(N, T)``; None for inputs that have none, such as tokens."""

    @property
    def temperature(self) -> Tensor:
        """Temperature of the log-densities, ``()``."""

    @property
    def entropy_weight(self) -> float:
        """Weight of the entropy in the combined score."""

    @property
    def task_log_prob(self) -> Tensor | None:
        """Log-probability ``(N, T)`` of each task under one softmax over the classes of all, if there is one."""

    @property
    def log_evidence(self) -> Tensor | None:
        """Log-probability ``(N, T)`` of each task given the input, where a learner knows it exactly."""

    @property
    def logits(self) -> tuple[Tensor, ...] | None:
        """Logits ``(N, C_t)`` under each task, averaged over weights."""

    @property
    def evidence(self) -> Tensor | None:
        """Log-density ``(N, T)`` of the features under each task's classes, which share one covariance."""

    @property
    def mahalanobis(self) -> Tensor | None:
        """Squared distance ``(N, T)`` from the nearest of each task's classes."""

    @property
    def virtual_logit(self) -> Tensor | None:
        """Logit ``(N, T)`` of belonging to none of a task's classes."""

    @property
    def logit_variance(self) -> Tensor | None:
        """Variance ``(N, T)`` of a logit under the last layer of each task."""

    @property
    def combination(self) -> Combination | None:
        """Weights of the combined score, learned from examples that were set aside."""
