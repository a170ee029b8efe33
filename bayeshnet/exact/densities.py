"""Gaussian classes from the sums of a linear head: densities and distances of inputs, without a second matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .linear import BayesianLinearHead, LinearPrediction

__all__ = ["ClassScores", "class_scores"]

_JITTER = 1e-12  # against a scatter within classes that is nothing but rounding


@dataclass(frozen=True)
class ClassScores:
    """Scores of ``N`` inputs under each of ``C`` classes, ``(N, C)`` each.

    Args:
        log_density: log-density of the features, in nats.
        distance: squared Mahalanobis distance from the mean of the class.
    """

    log_density: Tensor
    distance: Tensor


@torch.no_grad()
def class_scores(
    head: BayesianLinearHead, found: LinearPrediction, learned: Tensor | None = None, weight: Tensor | None = None
) -> ClassScores:
    r"""Compute densities and distances under Gaussian classes that share one covariance, from a linear head.

    The Gram matrix :math:`A = G + \lambda I` of a linear head holds the scatter within classes: it is
    :math:`W = A - B N^{-1} B^\top`, with the numbers of examples on the diagonal of :math:`N`. So with the predictive
    means :math:`m = B^\top A^{-1} \tilde\varphi`, the leverage :math:`h` and :math:`P = B^\top A^{-1} B`, of which all
    are known, the products of the distances :math:`r_c = \varphi - \mu_c` from the means of classes are

    .. math:: r_c^\top W^{-1} r_d = h - \frac{m_c}{n_c} - \frac{m_d}{n_d} + \frac{P_{cd}}{n_c n_d}
       + v_c^\top (N - P)^{-1} v_d, \qquad v_c = m - P_{:c} / n_c .

    The density is a Student distribution, as that of a :class:`~bayeshnet.exact.GaussianClassesHead` with the prior
    :math:`\mathcal{IW}(\lambda I, D)` and without one of the means. Without a learned example of class :math:`c`, whose
    mean moves away from it, :math:`W` becomes :math:`W - w a r_c r_c^\top` and :math:`r_c` becomes :math:`a r_c` with
    :math:`a = n_c / (n_c - w)` and its weight :math:`w`.

    Args:
        head: a head of classes that has learned.
        found: its prediction for the inputs.
        learned: the inputs' classes ``(N,)``, to leave each out in turn; None for inputs that were not learned.
        weight: weights of these in the sums ``(N, 1)``; None for 1.
    """
    fit, counts, size = head.fit(), head.counts, head.num_features
    known = torch.where(counts > 0, counts, 1.0)
    products, center = head.cross.T @ fit.weight, counts / counts.sum()
    inner = torch.diag(known * (1 + _JITTER)) - products
    share, square = found.mean / known, products.diagonal() / known.square()
    new, means = found.mean - center, products / known - center.unsqueeze(1)  # v_c is the difference of columns
    distance = _quadratic(inner, new, means) + (found.leverage.unsqueeze(1) - 2 * share + square)
    log_det = 2 * fit.factor.diagonal().log().sum() - math.log(fit.ridge)
    log_det = log_det + torch.linalg.slogdet(inner).logabsdet - known.log().sum()
    distance, degrees = distance.clamp_min(0), known.new_tensor(size + head.count)
    widening = (1 + 1 / known).expand_as(distance)
    if learned is not None:
        chosen = torch.searchsorted(head.labels, learned.to(head.labels))
        weight = torch.ones_like(distance[:, :1]) if weight is None else weight
        own, total = nn.functional.one_hot(chosen, len(known)).bool(), known[chosen].unsqueeze(1)
        less = torch.maximum(total - weight, 0.5 * total)
        a = total / less
        away = torch.linalg.solve(inner, (new - means.T[chosen]).T).T
        row = (away * new).sum(1, keepdim=True) - away @ means
        row = row + found.leverage.unsqueeze(1) - share - share[own].unsqueeze(1)
        row = row + (products / known.outer(known))[chosen]
        rest = (1 - weight * a * distance[own].unsqueeze(1)).clamp_min(torch.finfo(distance.dtype).tiny)
        distance = torch.where(own, a, 1.0).square() * (distance + weight * a * row.square() / rest)
        widening = torch.where(own, 1 + 1 / less, widening)
        log_det, degrees = (log_det + rest.log()), degrees - weight
    constant = ((degrees + 1) / 2).lgamma() - ((degrees - size + 1) / 2).lgamma() - size / 2 * math.log(math.pi)
    log_density = constant - 0.5 * (log_det + size * widening.log()) - (degrees + 1) / 2 * (distance / widening).log1p()
    scores = ClassScores(log_density, distance * degrees)
    return scores if learned is None or weight is None else _without_lonely(scores, own & (known <= weight))


def _without_lonely(scores: ClassScores, lonely: Tensor) -> ClassScores:
    """Return scores where those of a class without another example are the worst of all classes."""
    density = scores.log_density.masked_fill(lonely, math.inf).min(1, keepdim=True).values
    distance = scores.distance.masked_fill(lonely, -math.inf).max(1, keepdim=True).values
    alone = lonely & density.isfinite()  # there are other classes
    return ClassScores(torch.where(alone, density, scores.log_density), torch.where(alone, distance, scores.distance))


def _quadratic(inner: Tensor, new: Tensor, means: Tensor) -> Tensor:
    """Return the squares of differences under the inverse of ``inner``: of rows ``(N, C)`` and columns ``(C, C)``."""
    solved = torch.linalg.solve(inner, means)
    own = (new * torch.linalg.solve(inner, new.T).T).sum(1, keepdim=True)
    squares: Tensor = own - 2 * new @ solved + (means * solved).sum(0)
    return squares
