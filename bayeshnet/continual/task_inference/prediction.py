"""Predictions for inputs whose task is unknown: predictions under each task, and the posterior over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...checks import check_data
from ...errors import check_choice, check_shape, value_error
from ...inference import Prediction
from .combination import Combination
from .criteria import CRITERIA, criteria_for, padded_means, variances

__all__ = ["StreamPrediction", "join_predictions"]

_ROWS = ("log_density", "task_log_prob", "log_evidence", "evidence", "mahalanobis", "virtual_logit", "logit_variance")


@dataclass(frozen=True, repr=False)
class StreamPrediction:
    r"""Predictions for ``N`` inputs under the assumption of each of ``T`` tasks, and the posterior over tasks.

    With the evidence :math:`e_t` of task :math:`t`, which is a log-density of the input, and the predictive entropy
    :math:`H_t` under the task's posterior, the combined score of the task and the posterior are

    .. math:: s_t(x) = a\, \bar e(x) + a_t \big( e_t(x) - \bar e(x) \big) - b_t\, H_t(x), \qquad
       p(t|x) = \mathrm{softmax}_t \, s_t(x),

    where :math:`\bar e(x) = \log \frac1T \sum_u e^{e_u(x)}`. Where all tasks share their weights, this is :math:`a\,
    e_t(x) - b\, H_t(x)`. The weights were learned from examples that were set aside in training, see
    :attr:`combination`, which also says whether :math:`e_t` is the density of Gaussian classes that share one
    covariance, or the task's own density :math:`\log p_t(x) / \tau`. Its temperature :math:`\tau` is the standard
    deviation of the log-densities over the training inputs of the tasks, since densities of many correlated inputs are
    over-confident. Without a combination the score is :math:`\log p_t(x) / \tau - \kappa H_t(x)`, also known as
    ``combined_fixed``. For other scores see :data:`~bayeshnet.continual.CRITERIA`. The task of several inputs that are
    known to share one is inferred from the sum of their scores, :math:`p(t|x_{1:B}) = \mathrm{softmax}_t \sum_b
    s_t(x_b)`.

    Attributes:
        predictions: one :class:`~bayeshnet.inference.Prediction` per task.
        log_density: log-density of the inputs under the stored density of each task, ``(N, T)``; None for integer
            inputs, which have none.
        temperature: the number :math:`\tau`, ``()``.
        entropy_weight: the number :math:`\kappa`.
        labels: global labels of the classes of each task, or None for regression.
        task_log_prob: log-probability of each task ``(N, T)`` under one softmax over the classes of all, or None.
        log_evidence: log-probability of each task ``(N, T)`` given the input, but for a number that is the same for all
            tasks, where a learner knows it exactly; it then is the combined score. None for others.
        evidence: log-density ``(N, T)`` of the features under Gaussian classes of each task, which share one covariance
            over all tasks; None where nothing of the kind is kept.
        mahalanobis: squared distance from the nearest of each task's classes under that covariance, ``(N, T)``.
        virtual_logit: logit ``(N, T)`` of belonging to none of a task's classes, by the residual of the features.
        logit_variance: variance ``(N, T)`` of a logit under a Bayesian last layer of each task over frozen features.
        combination: weights of the combined score, or None.
    """

    predictions: tuple[Prediction, ...]
    log_density: Tensor | None
    temperature: Tensor
    entropy_weight: float = 0.5
    labels: tuple[tuple[int, ...], ...] | None = None
    task_log_prob: Tensor | None = None
    log_evidence: Tensor | None = None
    evidence: Tensor | None = None
    mahalanobis: Tensor | None = None
    virtual_logit: Tensor | None = None
    logit_variance: Tensor | None = None
    combination: Combination | None = None

    def __repr__(self) -> str:
        """Show sizes and labels rather than all tensors."""
        inputs, tasks = len(self.predictions[0].mean), len(self.predictions)
        return f"StreamPrediction({inputs} inputs, {tasks} tasks, labels={self.labels})"

    @property
    def logits(self) -> tuple[Tensor, ...] | None:
        """Logits ``(N, C_t)`` under each task, averaged over weights; None for predictions that have none."""
        each = [p.logits for p in self.predictions]
        known = tuple(logits for logits in each if logits is not None)
        return known if len(known) == len(each) else None

    @property
    def criteria(self) -> tuple[str, ...]:
        """Names of the criteria by which the task can be inferred."""
        return criteria_for(self)

    def scores(self, criterion: str = "combined") -> Tensor:
        """Compute the score of each task ``(N, T)``; the highest is that of the inferred task."""
        check_choice("criterion", criterion, CRITERIA)
        return CRITERIA[criterion].score(self)

    def task_posterior(self, criterion: str = "combined") -> Tensor:
        """Compute the probability of each task, ``(N, T)``."""
        return self.scores(criterion).softmax(dim=-1).to(self.predictions[0].mean.dtype)

    def task(self, criterion: str = "combined") -> Tensor:
        """Infer the task of each input, ``(N,)``."""
        return self.scores(criterion).argmax(dim=-1)

    def batch_posterior(self, criterion: str = "combined") -> Tensor:
        """Compute the probability of each task ``(T,)``, given that all inputs belong to the same one."""
        return self.scores(criterion).sum(0).softmax(dim=-1)

    def batch_task(self, criterion: str = "combined") -> Tensor:
        """Infer the task ``()``, given that all inputs belong to the same one."""
        return self.scores(criterion).sum(0).argmax(dim=-1)

    def target_log_prob(self, y: Tensor) -> Tensor:
        r"""Compute the log-probability of targets under each task, :math:`\log p_t(y|x)`, ``(N, T)``, in nats.

        Its sum over a few labeled examples is a score of the task that they belong to. Values are taken as Gaussian
        with the predictive mean and variance.

        Args:
            y: class indices within a task ``(N,)``, or values or yes-or-no answers ``(N, C)``.
        """
        if self.labels is not None:
            means = self.means
            index = check_shape("y", check_data("y", y), (len(means),)).long()
            if bool(((index < 0) | (index >= means.shape[-1])).any()):
                raise value_error("y", expected=f"class indices from 0 to {means.shape[-1] - 1}", found="others")
            return means.gather(2, index[:, None, None].expand(-1, means.shape[1], 1))[..., 0].log()
        check_shape("y", y, tuple(self.predictions[0].mean.shape))
        if self.predictions[0].kind == "classification":
            right = [torch.where(y > 0.5, p.mean, 1 - p.mean) for p in self.predictions]
            return torch.stack(right, -1).log().sum(1)
        each = [torch.distributions.Normal(p.mean, variances(p).sqrt()).log_prob(y) for p in self.predictions]
        return torch.stack(each, -1).sum(1)

    @property
    def means(self) -> Tensor:
        """Predictive means (class probabilities) under each task, ``(N, T, C)``.

        Where tasks have different numbers of classes, ``C`` is the largest, and classes that a task does not have have
        the probability 0.
        """
        return torch.stack(padded_means(self.predictions), dim=1)

    def mean(self, criterion: str = "combined") -> Tensor:
        """Return the predictive mean under the inferred task, ``(N, C)``."""
        task = self.task(criterion)
        return self.means[torch.arange(len(task), device=task.device), task]

    def label(self, criterion: str = "combined") -> Tensor:
        """Return the global label of the likeliest class under the inferred task, ``(N,)``."""
        return self.label_table[self.task(criterion), self.mean(criterion).argmax(dim=-1)]

    @property
    def all_labels(self) -> Tensor:
        """The global labels that exist, in ascending order: those of the columns of :meth:`label_probs`, ``(L,)``."""
        found: Tensor = self.label_table.unique()
        return found

    def label_probs(self, criterion: str = "combined") -> Tensor:
        r"""Compute the probability of each global label, :math:`p(l|x) = \sum_t p(t|x)\, p_t(l|x)`, ``(N, L)``.

        Returns:
            One column for each of :attr:`all_labels`. Labels are names, which may be any integers.
        """
        joint = self.task_posterior(criterion).unsqueeze(-1) * self.means
        table = self.label_table
        names = self.all_labels
        total = joint.new_zeros(len(joint), len(names))
        return total.index_add(1, torch.searchsorted(names, table.flatten()), joint.flatten(1))

    @property
    def label_table(self) -> Tensor:
        """Global labels ``(T, C)``: a row per task, which is filled up with its first label if it has fewer classes."""
        if self.labels is None:
            raise ValueError("label: expected tasks of kind 'classification', got regression. Use mean().")
        width = max(map(len, self.labels))
        rows = [[*labels, *labels[:1] * (width - len(labels))] for labels in self.labels]
        return torch.tensor(rows, device=self.predictions[0].mean.device)


def join_predictions(parts: Sequence[StreamPrediction]) -> StreamPrediction:
    """Return predictions for several batches of inputs, of one state and under the same tasks, as one.

    Samples and quantiles of the predictions are left out.
    """
    names = ("mean", "total", "aleatoric", "epistemic", "spread")
    has_logits = all(part.logits is not None for part in parts)

    def joined(t: int) -> Prediction:
        each = [part.predictions[t] for part in parts]
        tensors: dict[str, Any] = {
            name: torch.cat([getattr(prediction, name) for prediction in each])
            for name in (*names, *(["logits"] if has_logits else []))
        }
        return replace(each[0], **tensors, samples=None, quantiles={})

    def rows(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if any(entry is None for entry in found) else torch.cat(found)

    first = parts[0]
    predictions = tuple(joined(t) for t in range(len(first.predictions)))
    each: dict[str, Any] = {name: rows(name) for name in _ROWS}
    return replace(first, predictions=predictions, **each)
