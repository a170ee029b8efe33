"""Criteria by sizes: of logits, and of densities and distances of features under one covariance of all tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import value_error
from .contract import TaskPredictions

__all__ = ["energy", "evidence", "logit_variance", "mahalanobis", "max_logit", "vim"]

_KEPT = "It needs EvidenceSettings that keep something of these inputs, and a state learned with them."


def evidence(stream: TaskPredictions) -> Tensor:
    r"""Return the log-density of the input under each task's Gaussian classes with one covariance, in nats.

    .. math:: \log p(x | t) = \log \sum_{c \in t} \frac{n_c}{n_t} p(\varphi(x) | c)

    What all tasks share cancels in differences between tasks, since the covariance is that of all of them.
    """
    return _known("evidence", stream.evidence, _KEPT)


def mahalanobis(stream: TaskPredictions) -> Tensor:
    r"""Return the negative squared distance from the nearest class of each task, with one precision for all tasks.

    .. math:: -\min_{c \in t} (\varphi(x) - \mu_c)^\top \Lambda (\varphi(x) - \mu_c)

    References:
        A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks (Lee, Lee, Lee,
        Shin; 2018).
    """
    return -_known("mahalanobis", stream.mahalanobis, _KEPT)


def max_logit(stream: TaskPredictions) -> Tensor:
    r"""Compute the largest logit under each task, :math:`\max_c f_{tc}(x)`, averaged over weights before.

    References:
        Scaling Out-of-Distribution Detection for Real-World Settings (Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi,
        Steinhardt, Song; 2022).
    """
    return torch.stack([logits.amax(1) for logits in _logits("max_logit", stream)], dim=-1)


def energy(stream: TaskPredictions) -> Tensor:
    r"""Compute the negative free energy under each task, :math:`\log \sum_c \exp f_{tc}(x)`, in nats.

    References:
        Energy-based Out-of-distribution Detection (Liu, Wang, Owens, Li; 2020).
    """
    return torch.stack([logits.logsumexp(1) for logits in _logits("energy", stream)], dim=-1)


def vim(stream: TaskPredictions) -> Tensor:
    r"""Compute the energy minus the virtual logit, by which virtual-logit matching ranks inputs.

    .. math:: \log \sum_c \exp f_{tc}(x) - \alpha_t \lVert (I - U_t U_t^\top)(\varphi(x) - m_t) \rVert

    References:
        ViM: Out-Of-Distribution with Virtual-logit Matching (Wang, Li, Feng, Zhang; 2022).
    """
    return energy(stream) - _known("vim", stream.virtual_logit, _KEPT)


def logit_variance(stream: TaskPredictions) -> Tensor:
    r"""Return the negative variance of a logit under a Bayesian last layer of each task over frozen features.

    It is the uncertainty of a network whose trunk is frozen (random filters, say) and whose last layer is Gaussian:
    :math:`-\tilde\varphi^\top (\lambda_t I + G_t)^{-1} \tilde\varphi`. Neither targets nor densities enter it.
    """
    return -_known("logit_variance", stream.logit_variance, _KEPT)


def _known(name: str, scores: Tensor | None, advice: str) -> Tensor:
    """Return scores that these predictions have."""
    if scores is None:
        raise value_error("criterion", expected="one that these predictions have", got=name, hint=advice)
    return scores


def _logits(name: str, stream: TaskPredictions) -> tuple[Tensor, ...]:
    if stream.logits is None:
        advice = "It needs logits of classes of which one is right."
        raise value_error("criterion", expected="one that these predictions have", got=name, hint=advice)
    return stream.logits
