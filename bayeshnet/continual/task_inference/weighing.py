"""Weights of two scores by Laplace's method: the same for all tasks, or each task's own around shared ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import check_shape

__all__ = ["learn_task_weights", "learn_weights", "task_scores"]

_STEPS, _HALVINGS, _CLOSE = 100, 30, 1e-10

_At = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def task_scores(density: Tensor, within: Tensor, shared: Tensor, own: Tensor) -> Tensor:
    r"""Compute the scores of tasks with weights of their own.

    .. math:: s_t(x) = a\, \bar e(x) + a_t \big( e_t(x) - \bar e(x) \big) + b_t\, w_t(x), \qquad
       \bar e(x) = \log \frac1T \sum_u e^{e_u(x)}

    The second term weighs the evidence ratio :math:`e_t - \bar e`, so that a number added to all :math:`e_t(x)` changes
    no probability. The first one is the same for all tasks; with it :math:`a_t = a` gives :math:`a\, e_t + b_t\, w_t`.

    Args:
        density: scores :math:`e_t(x_n)`, ``(N, T)``.
        within: scores :math:`w_t(x_n)`, ``(N, T)``.
        shared: the number :math:`a`, ``()``.
        own: the numbers :math:`a_t, b_t`, ``(2, T)``.

    Returns:
        ``(N, T)``.
    """
    ratio, mixture = evidence_ratio(density)
    found: Tensor = shared * mixture + own[0] * ratio + own[1] * within
    return found


def evidence_ratio(density: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of the densities ``(N, T)`` over their mean, and of the mean, ``(N, 1)``."""
    mixture = density.logsumexp(-1, keepdim=True) - torch.full_like(density[:1, :1], density.shape[-1]).log()
    return density - mixture, mixture


def learn_weights(
    density: Tensor, within: Tensor, task: int, mean: Tensor, precision: Tensor, *, weigh_entropy: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Multiply the likelihood of a task to a Gaussian over the logarithms of two weights, by Laplace's method.

    .. math:: \log p(t | x_{1:N}, \theta) = \sum_n \log \mathrm{softmax}_t \big( e^{\theta_1} e_t(x_n) + e^{\theta_2}
       w_t(x_n) \big)

    The mode is found by Newton's method with the expected curvature, which is never negative. The log marginal
    likelihood is that of the Gaussian integral at the mode.

    Args:
        density: scores :math:`e_t(x_n)`, ``(N, T)``.
        within: scores :math:`w_t(x_n)`, ``(N, T)``.
        task: number :math:`t`.
        mean: of :math:`\theta`, ``(2,)``, in double precision.
        precision: ``(2, 2)``.
        weigh_entropy: False to leave the second weight as it is.

    Returns:
        The new mean, the new precision, and the log marginal likelihood ``()`` in nats.
    """
    check_shape("density", density, tuple(within.shape))
    scores = torch.stack([density, within]).to(mean)
    free = torch.tensor([1.0, float(weigh_entropy)]).to(mean)

    def at(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weighted = scores * theta.exp()[:, None, None]
        log_prob = weighted.sum(0).log_softmax(-1)
        centered = weighted - (log_prob.exp() * weighted).sum(-1, keepdim=True)
        curvature = torch.einsum("int,jnt,nt->ij", centered, centered, log_prob.exp())
        return log_prob[:, task].sum(), centered[:, :, task].sum(1), curvature

    return _mode(at, mean, precision, free)


def learn_task_weights(
    density: Tensor, within: Tensor, task: int, mean: Tensor, precision: Tensor, *, weigh_entropy: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Multiply the likelihood of a task to a Gaussian over the logarithms of two weights per task, likewise.

    With :math:`\log a_t = \theta_{01} + \theta_{t1}` and :math:`\log b_t = \theta_{02} + \theta_{t2}`, shared values
    and deviations of the tasks :math:`t \ge 1`, the scores are those of :func:`task_scores`.

    Args:
        density: scores :math:`e_t(x_n)`, ``(N, T)``.
        within: scores :math:`w_t(x_n)`, ``(N, T)``.
        task: number of the task, from 0.
        mean: of :math:`\theta`, ``(2 (1 + T),)``, in double precision: of the shared values, then of each task's.
        precision: ``(2 (1 + T), 2 (1 + T))``.
        weigh_entropy: False to leave the weights of the entropy as they are.

    Returns:
        The new mean, the new precision, and the log marginal likelihood ``()`` in nats.
    """
    check_shape("density", density, tuple(within.shape))
    scores = torch.stack([evidence_ratio(density.to(mean))[0], within.to(mean)], -1)  # (N, T, 2)
    count = scores.shape[1]
    free = torch.tensor([1.0, float(weigh_entropy)]).to(mean).repeat(1 + count)
    # Logarithms of the weights of each task, (T * 2,), are a linear map of the mean.
    deviations = torch.eye(2 * count).to(mean)
    design = torch.cat([torch.eye(2).to(mean).repeat(count, 1), deviations], 1)

    def at(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weighted = scores * (design @ theta).reshape(count, 2).exp()
        log_prob = weighted.sum(-1).log_softmax(-1)
        prob = log_prob.exp()
        expected = (prob.unsqueeze(-1) * weighted).flatten(1)  # (N, T * 2)
        gradient = weighted[:, task].new_zeros(count, 2)
        gradient[task] = weighted[:, task].sum(0)
        gradient = gradient.flatten() - expected.sum(0)
        within_task = torch.einsum("nt,nti,ntj->tij", prob, weighted, weighted)
        curvature = torch.block_diag(*within_task) - expected.T @ expected
        return log_prob[:, task].sum(), design.T @ gradient, design.T @ curvature @ design

    return _mode(at, mean, precision, free)


def _mode(at: _At, mean: Tensor, precision: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mode and curvature of a log-likelihood times a Gaussian, and the logarithm of the integral."""

    def joint(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, gradient, curvature = at(theta)
        off = theta - mean
        pull = precision @ off
        return value - 0.5 * off @ pull, (gradient - pull) * free, curvature * free * free[:, None] + precision

    theta = mean
    value, gradient, curvature = joint(theta)
    for _ in range(_STEPS):
        among = curvature * free * free[:, None] + torch.diag(1 - free)
        step = torch.linalg.solve(among, gradient)
        if not bool((step * gradient).sum() > _CLOSE):
            break
        for _ in range(_HALVINGS):
            found = joint(theta + step)
            if bool(found[0] > value):
                break
            step = step / 2
        else:
            break
        theta = theta + step
        value, gradient, curvature = found
    log_det = torch.logdet(precision) - torch.logdet(curvature)
    return theta, curvature, value + 0.5 * log_det
