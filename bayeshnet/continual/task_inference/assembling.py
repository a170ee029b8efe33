"""Predictions under all tasks put together with the densities of inputs and the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ...inference import Prediction
from ...mnets.inputs import is_dense
from .evidence import TaskEvidence
from .prediction import StreamPrediction
from .task_density import TaskDensity, log_densities

__all__ = ["assemble"]


class Learned(Protocol):
    """The part of a :class:`~bayeshnet.continual.LearnerState` that says what is kept of the tasks."""

    kind: str
    labels: list[tuple[int, ...]]
    evidence: TaskEvidence | None

    @property
    def densities(self) -> list[TaskDensity]:
        """Densities of the inputs, one per task learned."""


def assemble(
    state: Learned,
    predictions: Sequence[Prediction],
    x: Any,
    tasks: Sequence[int],
    *,
    entropy_weight: float,
    task_log_prob: Tensor | None,
) -> StreamPrediction:
    """Return the predictions for inputs under some tasks as one record.

    Args:
        state: after these tasks.
        predictions: one under each of the tasks.
        x: inputs; those that are no floating numbers have neither density nor evidence.
        tasks: numbers of the tasks.
        entropy_weight: see :class:`StreamPrediction`.
        task_log_prob: see :class:`StreamPrediction`.
    """
    densities, evidence = [state.densities[t] for t in tasks], state.evidence
    fields: dict[str, Any] = {}
    if evidence is not None and is_dense(x) and max(tasks) < evidence.num_tasks:
        found = evidence.scores(evidence.of(x), tasks)
        logits = all(p.logits is not None for p in predictions)
        fields = {
            "evidence": found.log_density,
            "mahalanobis": found.distance,
            "virtual_logit": found.virtual_logit if logits else None,
            "logit_variance": None if evidence.layers is None else evidence.layers.variances(x, tasks),
            "combination": evidence.weights.chosen(tasks),
        }
    return StreamPrediction(
        tuple(predictions),
        log_densities(densities, x) if is_dense(x) else None,
        torch.stack([density.log_density_std for density in densities]).mean(),
        entropy_weight,
        tuple(state.labels[t] for t in tasks) if state.kind == "classification" else None,
        task_log_prob,
        **fields,
    )
