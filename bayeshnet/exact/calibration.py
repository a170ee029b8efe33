"""The temperature of class probabilities from sufficient statistics alone, without an example set aside."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from .search import maximize

__all__ = ["inverse_temperature"]


class LinearFit(Protocol):
    """The part of the posterior of a linear head that the temperature depends on."""

    @property
    def weight(self) -> Tensor:
        """Mean of the weights, ``(D + 1, C)``."""

    @property
    def factor(self) -> Tensor:
        r"""Lower Cholesky factor of :math:`G + \lambda I`."""

    @property
    def ridge(self) -> float:
        r"""The number :math:`\lambda`."""


_DRAWS = 500
_RANGE = (-4.0, 8.0)
_HIGHEST = 0.999


@torch.no_grad()
def inverse_temperature(gram: Tensor, cross: Tensor, fit: LinearFit) -> float:
    r"""Choose the inverse temperature of softmax probabilities of a linear head by left-out examples.

    The outputs :math:`m = W^\top \tilde\varphi` of the examples of class :math:`c` have the mean and the covariance

    .. math:: a_c = W^\top B_{:c} / n_c, \qquad
       \Sigma = \tfrac1N \Big(W^\top G W - \sum_c n_c a_c a_c^\top\Big),

    which the sums give, with one covariance for all classes. An example that is left out of the fit has the outputs
    :math:`(m - h y) / (1 - h)`, with the leverage :math:`h`, whose mean over the class the sums give too. With 500
    fixed normal draws of such outputs per class, :math:`\beta` maximizes
    :math:`\sum_c \frac{n_c}{N} \mathbb{E} \log \mathrm{softmax}_c(\beta m)`.

    Args:
        gram: :math:`G`, ``(D + 1, D + 1)``.
        cross: :math:`B`, ``(D + 1, C)``, whose last row has the number of examples of each class.
        fit: the mean :math:`W` of the weights, the Cholesky factor of :math:`G + \lambda I`, and :math:`\lambda`.

    Returns:
        The number :math:`\beta`; 1 if there is one class.
    """
    counts, classes = cross[-1], cross.shape[1]
    if classes < 2:
        return 1.0
    number, centers = counts.sum(), cross / counts
    means = centers.T @ fit.weight
    covariance = (fit.weight.T @ gram @ fit.weight - (means.T * counts) @ means) / number
    own = torch.linalg.solve_triangular(fit.factor, centers, upper=False).square().sum(0)
    unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    used = len(gram) - fit.ridge * torch.linalg.solve_triangular(fit.factor, unit, upper=False).square().sum()
    leverage = (used - (counts * own).sum()) / number + own
    leverage = leverage.clamp(0, _HIGHEST).unsqueeze(1)
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.T))
    noise = torch.randn(_DRAWS, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = noise.to(gram) @ (vectors * values.clamp_min(0).sqrt()).T
    one = torch.eye(classes, dtype=gram.dtype, device=gram.device)
    outputs = (means.unsqueeze(1) + draws - (leverage * one).unsqueeze(1)) / (1 - leverage).unsqueeze(2)
    share = counts / number

    def score(log_beta: Tensor) -> Tensor:
        found = []
        for beta in log_beta.exp().tolist():
            own_class = (beta * outputs).log_softmax(2).diagonal(dim1=0, dim2=2)
            found.append(float((own_class.mean(0) * share).sum()))
        return torch.tensor(found, dtype=torch.float64)

    return math.exp(maximize(score, _RANGE)[0])
