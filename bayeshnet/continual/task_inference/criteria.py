r"""Criteria of task inference: scores of the tasks, computed from the predictions under each of them.

A criterion takes a :class:`~bayeshnet.continual.StreamPrediction` and returns scores ``(N, T)``, in nats where they are
log-probabilities; the task with the highest score is inferred. A new one is a function and a line in :data:`CRITERIA`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...checks import check_callable, check_items, check_text
from ...deprecation import renamed_arguments
from ...errors import check_choice, value_error
from ...inference import Prediction
from ...representation import Settings
from ...tasks import KINDS
from .contract import TaskPredictions
from .distances import energy, evidence, logit_variance, mahalanobis, max_logit, vim
from .weighing import task_scores

__all__ = ["CRITERIA", "Criterion", "TaskPredictions", "criteria_for", "padded_means", "variances"]

_NODES = 121


def _for_each_task(stream: TaskPredictions, score: Callable[[Prediction], Tensor]) -> Tensor:
    return torch.stack([score(p) for p in stream.predictions], dim=-1)


def entropy(stream: TaskPredictions) -> Tensor:
    """Compute the negative total uncertainty under each task: entropy in nats for classes, variance for values."""
    return _for_each_task(stream, lambda p: -p.total)


def confidence(stream: TaskPredictions) -> Tensor:
    """Compute the probability of the likeliest class, or of all answers; the negative variance for values."""
    return _for_each_task(stream, lambda p: p.certainty if p.kind == "classification" else -p.total)


def agreement(stream: TaskPredictions) -> Tensor:
    """Compute the negative standard deviation of the predictions over weight samples."""
    return _for_each_task(stream, lambda p: -p.disagreement)


def mutual_information(stream: TaskPredictions) -> Tensor:
    """Compute the negative epistemic uncertainty; for classes, that is the mutual information with the weights."""
    return _for_each_task(stream, lambda p: -p.epistemic)


def predictive_density(stream: TaskPredictions) -> Tensor:
    r"""Compute the expected log-density of the targets of each task, :math:`E_{p_t} \log p_t(y|x) = -H[p_t]`.

    With Gaussian :math:`p_t` of variances :math:`s_c^2` it is :math:`-\frac12 \sum_c \log(2 \pi e\, s_c^2)`, in nats.
    """
    return _for_each_task(stream, lambda p: -0.5 * (2 * math.pi * math.e * variances(p)).log().sum(-1))


def superposition(stream: TaskPredictions) -> Tensor:
    r"""Compute minus the gradient of the entropy of the superposed predictions with respect to their coefficients.

    Let :math:`\bar p_\alpha = \sum_t \alpha_t p_t` be the superposition of the predictions under all tasks, for each
    output separately. At :math:`\alpha_t = 1/T` the entropy changes with the coefficient of task :math:`t` by

    .. math:: -\frac{\partial H[\bar p_\alpha]}{\partial \alpha_t} = E_{p_t} \log \bar p_\alpha(y) + 1,

    and the task is inferred whose coefficient would lower it most. In the paper the weights are superposed rather than
    the predictions, which are available for every learner without another forward pass. For values :math:`p_t` is
    Gaussian, the outputs are treated as independent, and the expectation is computed by quadrature.

    References:
        Supermasks in Superposition (Wortsman, Ramanujan, Liu, Kembhavi, Rastegari, Yosinski, Farhadi; 2020).
    """
    if stream.predictions[0].kind == "classification":
        each = padded_means(stream.predictions)
        means = torch.stack(each if stream.predictions[0].exclusive else [torch.cat([m, 1 - m], -1) for m in each], -1)
        return torch.xlogy(means, means.mean(-1, keepdim=True)).sum(1) + 1
    mean, variance = _for_each_task(stream, lambda p: p.mean), _for_each_task(stream, variances)
    # The trapezoidal rule converges fast for smooth, decaying integrands; its nodes resolve the peaks of other tasks.
    nodes = torch.linspace(-6, 6, _NODES, dtype=mean.dtype, device=mean.device).reshape(-1, 1, 1, 1)
    y = mean + variance.sqrt() * nodes
    standard = (y.unsqueeze(-1) - mean.unsqueeze(-2)).square() / variance.unsqueeze(-2)
    log_prob = -0.5 * (standard + (2 * math.pi * variance.unsqueeze(-2)).log())
    mixture = log_prob.logsumexp(-1) - math.log(mean.shape[-1])
    return ((-0.5 * nodes.square()).softmax(0) * mixture).sum(0).sum(1) + mean.shape[1]


def density(stream: TaskPredictions) -> Tensor:
    r"""Compute the tempered log-density of the input under each task, :math:`\log p_t(x) / \tau`."""
    if stream.log_density is None:
        advice = "Integer inputs have no density: give the task, or take a criterion of the predictions, 'entropy' say."
        raise value_error(
            "criterion", expected="one that these predictions have", found="one of densities", hint=advice
        )
    return stream.log_density / stream.temperature


def combined_fixed(stream: TaskPredictions) -> Tensor:
    r"""Compute the score of density and entropy with given weights, :math:`\log p_t(x) / \tau - \kappa H_t(x)`."""
    return density(stream) + stream.entropy_weight * entropy(stream)


def combined(stream: TaskPredictions) -> Tensor:
    r"""Compute the log-posterior over tasks, up to a constant: :math:`a\, e_t(x) - b\, H_t(x)`, evidence and entropy.

    Where tasks have weights of their own, it is :math:`a\, \bar e(x) + a_t (e_t(x) - \bar e(x)) - b_t\, H_t(x)`, with
    the logarithm :math:`\bar e` of the mean density over the tasks. The weights, and the densities that make the
    evidence, are those of :attr:`StreamPrediction.combination <bayeshnet.continual.StreamPrediction>`; without it the
    score is ``combined_fixed``. Where a learner knows the probability of each task given the input exactly, it is the
    logarithm of that.
    """
    if stream.log_evidence is not None:
        return stream.log_evidence
    weights = stream.combination
    if weights is None or (weights.tied and stream.evidence is None):
        return combined_fixed(stream)
    known = stream.evidence if weights.tied and stream.evidence is not None else density(stream)
    if not weights.task_weights:
        return weights.evidence_weight * known + weights.entropy_weight * entropy(stream)
    if len(weights.task_weights) != known.shape[-1]:
        expected, found = f"weights of {known.shape[-1]} tasks", f"those of {len(weights.task_weights)}"
        raise value_error("combination", expected=expected, found=found)
    own = known.new_tensor(weights.task_weights).T
    return task_scores(known, entropy(stream), own.new_tensor(weights.evidence_weight), own)


def uncertainty(stream: TaskPredictions) -> Tensor:
    r"""Compute the log-posterior over tasks by uncertainty alone: :math:`-a \log v_t(x) - b\, H_t(x)` and a constant.

    It is of the variance of a logit and the entropy of the prediction under each task; no density and no target enters.
    The weights are those of :attr:`StreamPrediction.combination <bayeshnet.continual.StreamPrediction>`, or 1 and the
    learner's.
    """
    known = stream.combination
    a, b = (1.0, stream.entropy_weight) if known is None else known.uncertainty
    return -a * (-logit_variance(stream)).log() + b * entropy(stream)


def softmax(stream: TaskPredictions) -> Tensor:
    """Return the log-probability of each task under one softmax over the classes of all tasks."""
    if stream.task_log_prob is None:
        raise value_error(
            "criterion", expected="one that these predictions have", got="softmax", hint="It needs a joint head."
        )
    return stream.task_log_prob


def padded_means(predictions: Sequence[Prediction]) -> list[Tensor]:
    """Return the predictive means of each task ``(N, C)``, with zeros for classes that only other tasks have."""
    width = max(p.mean.shape[-1] for p in predictions)
    return [torch.nn.functional.pad(p.mean, (0, width - p.mean.shape[-1])) for p in predictions]


def variances(prediction: Prediction) -> Tensor:
    """Return the predictive variance of each target ``(N, C)``, with an equal share of the summed noise for each."""
    noise = prediction.aleatoric / prediction.mean.shape[-1]
    tiny = torch.finfo(noise.dtype).tiny
    return (prediction.spread + noise.unsqueeze(-1)).clamp_min(tiny)


@dataclass(frozen=True, repr=False)
class Criterion(Settings):
    """A criterion and the predictions to which it applies.

    Args:
        score: function from the predictions under all tasks to scores ``(N, T)``.
        kinds: kinds of tasks to which it applies.
        needs: an attribute of the predictions that must not be None, if any.
    """

    score: Callable[[TaskPredictions], Tensor]
    kinds: tuple[str, ...] = KINDS
    needs: str | None = None

    def __post_init__(self) -> None:
        """Check the function, the kinds of tasks and the name of what it needs."""
        check_callable("score", self.score, "a function of the predictions under all tasks")
        for kind in check_items("kinds", self.kinds, "a tuple of kinds of tasks", str):
            check_choice("kinds", kind, KINDS)
        if self.needs is not None:
            check_text("needs", self.needs, "the name of an attribute of the predictions, or None")


CRITERIA: dict[str, Criterion] = {
    "entropy": Criterion(entropy),
    "confidence": Criterion(confidence),
    "agreement": Criterion(agreement),
    "mutual_information": Criterion(mutual_information),
    "superposition": Criterion(superposition),
    "predictive_density": Criterion(predictive_density, ("regression",)),
    "softmax": Criterion(softmax, ("classification",), needs="task_log_prob"),
    "density": Criterion(density, needs="log_density"),
    "combined_fixed": Criterion(combined_fixed, needs="log_density"),
    "combined": Criterion(combined, needs="log_density"),
    "evidence": Criterion(evidence, needs="evidence"),
    "mahalanobis": Criterion(mahalanobis, needs="mahalanobis"),
    "max_logit": Criterion(max_logit, ("classification",), needs="logits"),
    "energy": Criterion(energy, ("classification",), needs="logits"),
    "logit_variance": Criterion(logit_variance, needs="logit_variance"),
    "uncertainty": Criterion(uncertainty, needs="logit_variance"),
    "vim": Criterion(vim, ("classification",), needs="virtual_logit"),
}
"""All criteria by name."""


@renamed_arguments(evidence="stream")
def criteria_for(stream: TaskPredictions) -> tuple[str, ...]:
    """Return the names of the criteria that apply to these predictions."""
    kind = stream.predictions[0].kind
    return tuple(
        name
        for name, criterion in CRITERIA.items()
        if kind in criterion.kinds and (criterion.needs is None or getattr(stream, criterion.needs) is not None)
    )
