"""Bayesian linear regression of several outputs, its prior and noise by maximized evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..memo import Memo
from .base import ExactHead
from .calibration import inverse_temperature
from .search import maximize_slow

__all__ = ["BayesianLinearHead", "LinearPrediction"]

_BELOW, _ABOVE = 18.0, 10.0
_LEAST_NOISE = 1e-12


@dataclass(frozen=True)
class LinearPrediction:
    """Predictions of a linear head for ``N`` inputs.

    Args:
        mean: of each output, ``(N, C)``.
        variance: of a new target, noise included, ``(N,)``; it is the same for all outputs.
        leverage: the part of it that comes from unknown weights, over the noise, ``(N,)``.
        probs: probabilities of the classes ``(N, C)``; None for values.
    """

    mean: Tensor
    variance: Tensor
    leverage: Tensor
    probs: Tensor | None = None


@dataclass(frozen=True)
class Fit:
    r"""The posterior of the weights.

    Args:
        weight: its mean, ``(D + 1, C)``.
        factor: lower Cholesky factor of :math:`G + \lambda I`.
        ridge: ratio of the noise variance to that of the prior.
        noise: variance of the noise.
        log_evidence: in nats.
    """

    weight: Tensor
    factor: Tensor
    ridge: float
    noise: float
    log_evidence: float


class BayesianLinearHead(ExactHead):
    r"""Bayesian linear regression of all outputs on the features, whose prior and noise maximize the evidence.

    .. math:: y_c = \tilde\varphi^\top w_c + \sigma \varepsilon, \qquad w_c \sim \mathcal{N}(0, (\sigma^2 / \lambda) I).

    The log-evidence of :math:`N` examples of :math:`C` outputs is

    .. math:: -\tfrac{N C}{2} \log(2 \pi \sigma^2) - \tfrac{C}{2} \log \lvert I + G / \lambda \rvert
       - \frac{1}{2 \sigma^2} \sum_c \big(s_c - B_{:c}^\top (G + \lambda I)^{-1} B_{:c}\big).

    It is largest in :math:`\sigma^2` in closed form, and in :math:`\lambda` by a search that needs no further pass. The
    posterior predictive of a new target has the mean :math:`\tilde\varphi^\top (G + \lambda I)^{-1} B` and the variance
    :math:`\sigma^2 (1 + h)` with the leverage :math:`h = \tilde\varphi^\top (G + \lambda I)^{-1} \tilde\varphi`.

    Probabilities of classes are :math:`\mathrm{softmax}(\beta m / \sqrt{1 + h})` with the predictive mean :math:`m` of
    the vectors of classes: an input far from all features learned has a large leverage and flat probabilities. The
    inverse temperature :math:`\beta` maximizes the expected log-probability of examples that are left out of the fit.
    It is computed from the sums alone: the outputs of the examples of a class have a mean and a covariance that the
    sums give, with one covariance for all classes; leaving an example out changes its outputs :math:`m` to
    :math:`(m - h y) / (1 - h)`. No example is set aside or stored.

    Args:
        num_features: number :math:`D` of features.
        num_outputs: number of values; None for classes.
        forgetting: factor of all sums for each later example; see :class:`~bayeshnet.exact.ExactHead`.

    References:
        Bayesian Interpolation (MacKay; 1992); Pattern Recognition and Machine Learning (Bishop; 2006), section 3.5.

    Example:
        >>> x = torch.randn(100, 3, dtype=torch.float64)
        >>> y = x @ torch.tensor([[1.0], [2.0], [0.0]]).double() + 0.1 * torch.randn(100, 1).double()
        >>> head = BayesianLinearHead(3, 1).update(x, y)
        >>> found = head.predict(torch.ones(1, 3))
        >>> bool((found.mean - 3).abs() < 0.2), bool((found.variance.sqrt() - 0.1).abs() < 0.05)
        (True, True)
    """

    def __init__(self, num_features: int, num_outputs: int | None = None, *, forgetting: float = 1.0) -> None:
        super().__init__(num_features, num_outputs, forgetting)
        self._memo: Memo[Fit] = Memo()
        self._beta: Memo[float] = Memo()

    def log_evidence(self) -> float:
        """Return the log-density of all targets given the features, in nats, at its maximum."""
        return self.fit().log_evidence

    @torch.no_grad()
    def fit(self) -> Fit:
        """Return the posterior of the weights, kept until more is learned."""
        return self._memo.get((self.gram, self.cross), self._fit)

    @torch.no_grad()
    def predict(self, features: Tensor) -> LinearPrediction:
        """Predict targets of new examples.

        Args:
            features: ``(N, D)``.
        """
        wide = self._wide(features)
        fit = self.fit()
        mean = wide @ fit.weight
        leverage = _leverage(fit, wide)
        probs = None
        if self.of_classes:
            probs = (self.inverse_temperature() * mean / (1 + leverage).sqrt().unsqueeze(1)).softmax(1)
        return LinearPrediction(mean, fit.noise * (1 + leverage), leverage, probs)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        r"""Compute :math:`\beta m / \sqrt{1 + h}`, ``(N, C)``."""
        found = self.predict(features)
        return self.inverse_temperature() * found.mean / (1 + found.leverage).sqrt().unsqueeze(1)

    @torch.no_grad()
    def leave_one_out(self, features: Tensor, y: Tensor) -> Tensor:
        r"""Compute the predictive mean of examples that were learned, as if each had been left out, ``(N, C)``.

        In closed form it is :math:`(m_i - h_i y_i) / (1 - h_i)`, at the same :math:`\lambda`.

        Args:
            features: ``(N, D)``, of examples that the head has learned.
            y: their targets, as for :meth:`~bayeshnet.exact.ExactHead.update`.
        """
        wide = self._wide(features)
        _, targets = self._checked(features, y)
        if self.of_classes:
            known = (targets.unsqueeze(1) == self.labels).to(wide)
            targets = known
        fit = self.fit()
        leverage = _leverage(fit, wide).unsqueeze(1)
        rest = (1 - leverage).clamp_min(torch.finfo(wide.dtype).eps)
        return (wide @ fit.weight - leverage * targets.to(wide)) / rest

    @torch.no_grad()
    def inverse_temperature(self) -> float:
        r"""Return the number :math:`\beta` of the probabilities, kept until more is learned."""
        return self._beta.get((self.gram, self.cross), lambda: inverse_temperature(self.gram, self.cross, self.fit()))

    def _fit(self) -> Fit:
        level = math.log(float(self.gram.trace()))
        log_ridge = maximize_slow(lambda value: self._at(math.exp(value)).log_evidence, level - _BELOW, level + _ABOVE)
        return self._at(math.exp(log_ridge))

    def _at(self, ridge: float) -> Fit:
        """Return the posterior at a ridge, with the noise that maximizes the evidence."""
        number, outputs, power = self.count, max(len(self.labels), 1), float(self.square.sum())
        shifted = self.gram.clone()
        shifted.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if bool(failed):
            return Fit(self.cross, factor, ridge, math.nan, -math.inf)
        weight = torch.cholesky_solve(self.cross, factor)
        rest = max(power - float((self.cross * weight).sum()), 0.0)
        noise = max(rest, _LEAST_NOISE * power, 1e-300) / (number * outputs)
        log_det = 2 * float(factor.diagonal().log().sum()) - len(factor) * math.log(ridge)
        log_evidence = -0.5 * outputs * (number * math.log(2 * math.pi * noise) + log_det) - rest / (2 * noise)
        return Fit(weight, factor, ridge, noise, log_evidence)

    def _settings(self) -> dict[str, Any]:
        return {"num_features": self.num_features, "num_outputs": self.num_outputs, "forgetting": self.forgetting}


def _leverage(fit: Fit, wide: Tensor) -> Tensor:
    """Return the leverage of examples ``(N, D + 1)``."""
    return torch.linalg.solve_triangular(fit.factor, wide.T, upper=False).square().sum(0)
