"""Which task does an input belong to? The posterior over tasks, from predictions under each and stored densities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import check_choice, check_shape
from ...inference import Prediction
from .criteria import CRITERIA, criteria_for, variances

__all__ = ["StreamPrediction"]


@dataclass(frozen=True)
class StreamPrediction:
    r"""Predictions for the same inputs as if they belonged to each task in turn, and the posterior over tasks.

    With the density :math:`p_t` of task :math:`t`'s inputs and the predictive entropy :math:`H_t` under its posterior,

    .. math:: s_t(x) = \frac{\log p_t(x)}{\tau} - \kappa H_t(x), \qquad p(t|x) = \mathrm{softmax}_t \, s_t(x)

    is the combined score; ``tau`` is the spread of the log-densities on the tasks' own training inputs, since
    densities of many correlated inputs are over-confident when taken at their word. The density alone is :math:`\log
    p_t / \tau`; for the others see :data:`~bayeshnet.continual.CRITERIA`. Inputs that are known to share one task are
    inferred together from the sum of their scores, :math:`p(t|x_{1:B}) = \mathrm{softmax}_t \sum_b s_t(x_b)`.

    Attributes:
        predictions: one :class:`~bayeshnet.inference.Prediction` per task.
        log_density: ``(N, T)`` log-density of the inputs under each task's stored density.
        temperature: the number ``tau``.
        entropy_weight: the number ``kappa``.
        labels: global label of each class of each task, or None for regression.
        task_log_prob: ``(N, T)`` log-probability of each task, if one softmax over the classes of all gives it.
    """

    predictions: tuple[Prediction, ...]
    log_density: Tensor
    temperature: Tensor
    entropy_weight: float = 0.5
    labels: tuple[tuple[int, ...], ...] | None = None
    task_log_prob: Tensor | None = None

    @property
    def criteria(self) -> tuple[str, ...]:
        """Names of the criteria by which the task can be inferred."""
        return criteria_for(self)

    def scores(self, criterion: str = "combined") -> Tensor:
        """Evidence for each task, ``(N, T)``; higher is likelier."""
        check_choice("criterion", criterion, CRITERIA)
        return CRITERIA[criterion].score(self)

    def task_posterior(self, criterion: str = "combined") -> Tensor:
        """Probability of each task, ``(N, T)``."""
        return self.scores(criterion).softmax(dim=-1)

    def task(self, criterion: str = "combined") -> Tensor:
        """The inferred task of each input, ``(N,)``."""
        return self.scores(criterion).argmax(dim=-1)

    def batch_posterior(self, criterion: str = "combined") -> Tensor:
        """Probability of each task, ``(T,)``, if all inputs belong to one and the same."""
        return self.scores(criterion).sum(0).softmax(dim=-1)

    def batch_task(self, criterion: str = "combined") -> Tensor:
        """The inferred task, ``()``, if all inputs belong to one and the same."""
        return self.scores(criterion).sum(0).argmax(dim=-1)

    def target_log_prob(self, y: Tensor) -> Tensor:
        r"""Log-probability of targets under each task, :math:`\log p_t(y|x)`, ``(N, T)``, in nats.

        What a few labeled examples say about their task: the sum over them is the evidence for each task. Values are
        taken for Gaussian with the predictive mean and variance.

        Args:
            y: class indices within a task ``(N,)``, or values ``(N, C)``.
        """
        if self.labels is not None:
            check_shape("y", y, (self.means.shape[0],))
            return torch.stack([p.mean.gather(1, y[:, None])[:, 0] for p in self.predictions], -1).log()
        check_shape("y", y, tuple(self.predictions[0].mean.shape))
        each = [torch.distributions.Normal(p.mean, variances(p).sqrt()).log_prob(y) for p in self.predictions]
        return torch.stack(each, -1).sum(1)

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
        return self._labels()[self.task(criterion), self.mean(criterion).argmax(dim=-1)]

    def label_probs(self, criterion: str = "combined") -> Tensor:
        r"""Probability of each global label, :math:`p(l|x) = \sum_t p(t|x)\, p_t(l|x)`, ``(N, L)``.

        Returns:
            ``L`` is the largest label plus one; labels of no task have probability 0.
        """
        joint = self.task_posterior(criterion).unsqueeze(-1) * self.means
        table = self._labels()
        total = joint.new_zeros(len(joint), int(table.max()) + 1)
        return total.index_add(1, table.flatten(), joint.flatten(1))

    def _labels(self) -> Tensor:
        if self.labels is None:
            raise ValueError("label: expected tasks of kind 'classification', got regression. Use mean().")
        return torch.tensor(self.labels, device=self.log_density.device)
