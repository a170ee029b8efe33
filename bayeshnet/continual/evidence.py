"""Which task does an input belong to? Evidence from predictive uncertainty and from the stored input densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import check_choice
from ..inference import Prediction

__all__ = ["CRITERIA", "UNCERTAINTY", "StreamPrediction"]

UNCERTAINTY: dict[str, Callable[[Prediction], Tensor]] = {
    "entropy": lambda p: -p.total,
    "confidence": lambda p: p.confidence if p.kind == "classification" else -p.total,
    "agreement": lambda p: -p.disagreement,
    "mutual_information": lambda p: -p.epistemic,
}
"""Scores ``(N,)`` of one task's prediction by what its posterior is sure of; the highest over tasks wins."""

CRITERIA = (*UNCERTAINTY, "density", "combined")
"""Names of all criteria for inferring the task."""


@dataclass(frozen=True)
class StreamPrediction:
    r"""Predictions for the same inputs as if they belonged to each task in turn, and the posterior over tasks.

    With the density :math:`p_t` of task :math:`t`'s inputs and the predictive entropy :math:`H_t` under its posterior,

    .. math:: s_t(x) = \frac{\log p_t(x)}{\tau} - \kappa H_t(x), \qquad p(t|x) = \mathrm{softmax}_t \, s_t(x)

    is the combined score; ``tau`` is the spread of the log-densities on the tasks' own training inputs, since
    densities of many correlated inputs are over-confident when taken at their word. The density alone is :math:`\log
    p_t / \tau`.

    Attributes:
        predictions: one :class:`~bayeshnet.inference.Prediction` per task.
        log_density: ``(N, T)`` log-density of the inputs under each task's stored density.
        temperature: the number ``tau``.
        entropy_weight: the number ``kappa``.
        labels: global label of each class of each task, or None for regression.
    """

    predictions: tuple[Prediction, ...]
    log_density: Tensor
    temperature: Tensor
    entropy_weight: float = 0.5
    labels: tuple[tuple[int, ...], ...] | None = None

    def scores(self, criterion: str = "combined") -> Tensor:
        """Evidence for each task, ``(N, T)``; higher is likelier."""
        check_choice("criterion", criterion, CRITERIA)
        if criterion in UNCERTAINTY:
            return torch.stack([UNCERTAINTY[criterion](p) for p in self.predictions], dim=-1)
        density = self.log_density / self.temperature
        if criterion == "density":
            return density
        return density + self.entropy_weight * self.scores("entropy")

    def task_posterior(self, criterion: str = "combined") -> Tensor:
        """Probability of each task, ``(N, T)``."""
        return self.scores(criterion).softmax(dim=-1)

    def task(self, criterion: str = "combined") -> Tensor:
        """The inferred task of each input, ``(N,)``."""
        return self.scores(criterion).argmax(dim=-1)

    @property
    def means(self) -> Tensor:
        """Predictive means (class probabilities) under each task, ``(N, T, C)``."""
        return torch.stack([p.mean for p in self.predictions], dim=1)

    def mean(self, criterion: str = "combined") -> Tensor:
        """Predictive mean under the inferred task, ``(N, C)``."""
        task = self.task(criterion)
        return self.means[torch.arange(len(task), device=task.device), task]

    def label(self, criterion: str = "combined") -> Tensor:
        """Global label of the likeliest class under the inferred task, ``(N,)``."""
        if self.labels is None:
            raise ValueError("label: expected tasks of kind 'classification', got regression. Use mean().")
        table = torch.tensor(self.labels, device=self.log_density.device)
        return table[self.task(criterion), self.mean(criterion).argmax(dim=-1)]
