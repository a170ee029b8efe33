r"""Criteria of task inference: functions from the predictions under all tasks to evidence for each task.

A criterion takes a :class:`~bayeshnet.continual.StreamPrediction` and returns scores ``(N, T)``, in nats where they are
log-probabilities, of which the highest wins. A new one is a function and a line in :data:`CRITERIA`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...errors import value_error
from ...inference import Prediction
from ...tasks import KINDS

__all__ = ["CRITERIA", "Criterion", "criteria_for", "variances"]

_NODES = 121


class Evidence(Protocol):
    """What criteria may look at, see :class:`~bayeshnet.continual.StreamPrediction`."""

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """One per task."""

    @property
    def log_density(self) -> Tensor:
        """Of the inputs under each task, ``(N, T)``."""

    @property
    def temperature(self) -> Tensor:
        """Of the log-densities, ``()``."""

    @property
    def entropy_weight(self) -> float:
        """Of the entropy beside the density."""

    @property
    def task_log_prob(self) -> Tensor | None:
        """Log-probability of each task under one softmax over the classes of all, ``(N, T)``, if there is one."""


def _each(evidence: Evidence, score: Callable[[Prediction], Tensor]) -> Tensor:
    return torch.stack([score(p) for p in evidence.predictions], dim=-1)


def entropy(evidence: Evidence) -> Tensor:
    """Negative total uncertainty under each task: entropy in nats for classes, variance for values."""
    return _each(evidence, lambda p: -p.total)


def confidence(evidence: Evidence) -> Tensor:
    """Probability of the likeliest class; for values the negative variance."""
    return _each(evidence, lambda p: p.confidence if p.kind == "classification" else -p.total)


def agreement(evidence: Evidence) -> Tensor:
    """Negative standard deviation of the predictions over draws of the weights."""
    return _each(evidence, lambda p: -p.disagreement)


def mutual_information(evidence: Evidence) -> Tensor:
    """Negative uncertainty that comes from not knowing the weights."""
    return _each(evidence, lambda p: -p.epistemic)


def predictive_density(evidence: Evidence) -> Tensor:
    r"""Log-density that a task's prediction expects of its own targets, :math:`E_{p_t} \log p_t(y|x) = -H[p_t]`.

    With Gaussian :math:`p_t` of variances :math:`s_c^2` it is :math:`-\frac12 \sum_c \log(2 \pi e\, s_c^2)`, in nats.
    """
    return _each(evidence, lambda p: -0.5 * (2 * math.pi * math.e * variances(p)).log().sum(-1))


def superposition(evidence: Evidence) -> Tensor:
    r"""One step down the entropy of the superposition of all tasks' predictions, from equal coefficients.

    Let :math:`\bar p_\alpha = \sum_t \alpha_t p_t` be the predictions of all tasks in superposition, output unit by
    output unit. At :math:`\alpha_t = 1/T` the entropy changes with the coefficient of task :math:`t` by

    .. math:: -\frac{\partial H[\bar p_\alpha]}{\partial \alpha_t} = E_{p_t} \log \bar p_\alpha(y) + 1,

    and the task whose coefficient would lower it most is inferred. In the paper the networks' weights are superposed;
    the predictions are defined for every learner and need no further pass through the network. For values
    :math:`p_t` is Gaussian, outputs count as independent, and the expectation is by quadrature.

    References:
        Supermasks in Superposition (Wortsman, Ramanujan, Liu, Kembhavi, Rastegari, Yosinski, Farhadi; 2020).
    """
    if evidence.predictions[0].kind == "classification":
        means = _each(evidence, lambda p: p.mean)
        return torch.xlogy(means, means.mean(-1, keepdim=True)).sum(1) + 1
    mean, variance = _each(evidence, lambda p: p.mean), _each(evidence, variances)
    # The trapezium rule converges fast for what decays smoothly, and its even nodes find narrow peaks of other tasks.
    nodes = torch.linspace(-6, 6, _NODES, dtype=mean.dtype, device=mean.device).reshape(-1, 1, 1, 1)
    y = mean + variance.sqrt() * nodes
    standard = (y.unsqueeze(-1) - mean.unsqueeze(-2)).square() / variance.unsqueeze(-2)
    log_prob = -0.5 * (standard + (2 * math.pi * variance.unsqueeze(-2)).log())
    mixture = log_prob.logsumexp(-1) - math.log(mean.shape[-1])
    return ((-0.5 * nodes.square()).softmax(0) * mixture).sum(0).sum(1) + mean.shape[1]


def density(evidence: Evidence) -> Tensor:
    r"""Log-density of the input under each task's stored density over the temperature, :math:`\log p_t(x) / \tau`."""
    return evidence.log_density / evidence.temperature


def combined(evidence: Evidence) -> Tensor:
    r"""Density and entropy together, :math:`\log p_t(x) / \tau - \kappa H_t(x)`."""
    return density(evidence) + evidence.entropy_weight * entropy(evidence)


def softmax(evidence: Evidence) -> Tensor:
    """Log-probability of each task under one softmax over the classes of all tasks."""
    if evidence.task_log_prob is None:
        raise value_error(
            "criterion", expected="one that these predictions have", got="softmax", hint="It needs a joint head."
        )
    return evidence.task_log_prob


def variances(prediction: Prediction) -> Tensor:
    """Predictive variance of each target ``(N, C)``; the noise, known as a sum, is shared out evenly."""
    noise = prediction.aleatoric / prediction.mean.shape[-1]
    tiny = torch.finfo(noise.dtype).tiny
    return (prediction.spread + noise.unsqueeze(-1)).clamp_min(tiny)


@dataclass(frozen=True)
class Criterion:
    """A score, and where it means something.

    Args:
        score: from the predictions under all tasks to ``(N, T)``.
        kinds: of tasks.
        needs: what the predictions must have besides, if anything.
    """

    score: Callable[[Evidence], Tensor]
    kinds: tuple[str, ...] = KINDS
    needs: str | None = None


CRITERIA: dict[str, Criterion] = {
    "entropy": Criterion(entropy),
    "confidence": Criterion(confidence),
    "agreement": Criterion(agreement),
    "mutual_information": Criterion(mutual_information),
    "superposition": Criterion(superposition),
    "predictive_density": Criterion(predictive_density, ("regression",)),
    "softmax": Criterion(softmax, ("classification",), needs="task_log_prob"),
    "density": Criterion(density),
    "combined": Criterion(combined),
}
"""All criteria by name."""


def criteria_for(evidence: Evidence) -> tuple[str, ...]:
    """Names of the criteria by which the task can be inferred from these predictions."""
    kind = evidence.predictions[0].kind
    return tuple(
        name
        for name, criterion in CRITERIA.items()
        if kind in criterion.kinds and (criterion.needs is None or getattr(evidence, criterion.needs) is not None)
    )
