"""Bayesian linear regression of several outputs, its prior and noise by maximized evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import check_flags, value_error
from ..memo import Memo
from .base import ExactHead
from .search import maximize_slow

__all__ = ["BayesianLinearHead", "LinearPrediction"]

_BELOW, _ABOVE, _NEAR = 18.0, 10.0, 4.0
_LOGISTIC, _LOWEST, _HIGHEST, _BETAS = 1.7, 0.1, 10.0, 61
_LEAST_NOISE = 1e-12
_WIDE, _PART = 1024, 512


@dataclass(frozen=True)
class LinearPrediction:
    r"""Predictions of a linear head for ``N`` inputs.

    Args:
        mean: of each output, ``(N, C)``.
        variance: of a new target, noise included, ``(N, C)``.
        leverage: the part of it that comes from unknown weights, over the noise, ``(N,)``.
        logits: the numbers :math:`\beta z` of the classes ``(N, C)``; None for values.
    """

    mean: Tensor
    variance: Tensor
    leverage: Tensor
    logits: Tensor | None = None

    @property
    def probs(self) -> Tensor:
        """Probabilities of the classes, ``(N, C)``."""
        if self.logits is None:
            raise ValueError("probs: expected a prediction of classes, got one of values. Use mean.")
        return self.logits.softmax(1)


@dataclass(frozen=True)
class Fit:
    r"""The posterior of the weights.

    Args:
        weight: its mean, ``(D + 1, C)``.
        factor: lower Cholesky factor of :math:`G + \lambda I`.
        ridge: ratio of the noise variance to that of the prior.
        noise: variance of the noise of each output, ``(C,)``.
        log_evidence: in nats.
    """

    weight: Tensor
    factor: Tensor
    ridge: float
    noise: Tensor
    log_evidence: float


class BayesianLinearHead(ExactHead):
    r"""Bayesian linear regression of all outputs on the features, whose prior and noise maximize the evidence.

    .. math:: y_c = \tilde\varphi^\top w_c + \sigma_c \varepsilon, \qquad
       w_c \sim \mathcal{N}(0, (\sigma_c^2 / \lambda) I).

    The log-evidence of :math:`N` examples of :math:`C` outputs is

    .. math:: -\tfrac12 \sum_c \Big(N \log(2 \pi \sigma_c^2) + \log \lvert I + G / \lambda \rvert
       + \frac{1}{\sigma_c^2} \big(s_c - B_{:c}^\top (G + \lambda I)^{-1} B_{:c}\big)\Big).

    It is largest in :math:`\sigma_c^2` in closed form, and in :math:`\lambda` by a search that needs no further pass.
    The posterior predictive of a new target has the mean :math:`m_c = \tilde\varphi^\top (G + \lambda I)^{-1} B_{:c}`
    and the variance :math:`\sigma_c^2 (1 + h)` with the leverage :math:`h = \tilde\varphi^\top (G + \lambda I)^{-1}
    \tilde\varphi`.

    Classes are vectors with a one for the class. The number of deviations :math:`z_c = (m_c - \frac12) / (\sigma_c
    \sqrt{1 + h})` by which the mean exceeds one half gives the probabilities :math:`\mathrm{softmax}(\beta z)`, which
    are flat for inputs far from all that was learned. Without further data :math:`\beta` is 1.7, with which the
    logistic function is close to the normal one; :meth:`calibrate` chooses it by the predictions of training examples
    that are left out of the fit.

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

    tally: Tensor
    chosen: Tensor

    def __init__(self, num_features: int, num_outputs: int | None = None, *, forgetting: float = 1.0) -> None:
        super().__init__(num_features, num_outputs, forgetting)
        with torch.inference_mode(False):
            self.register_buffer("tally", torch.zeros(_BETAS, dtype=torch.float64))
            self.register_buffer("chosen", torch.zeros(2, dtype=torch.float64))
        self._memo: Memo[Fit] = Memo()

    def log_evidence(self) -> float:
        """Return the log-density of all targets given the features, in nats, at its maximum."""
        return self.fit().log_evidence if self.count > 0 else 0.0

    @torch.no_grad()
    def fit(self) -> Fit:
        """Return the posterior of the weights, kept until more is learned."""
        return self._memo.get((self.gram, self.cross), self._fit)

    def linear_map(self) -> Tensor:
        """Return the posterior mean of the weights, with the offsets in the last row, ``(D + 1, C)``."""
        return self.fit().weight

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
        variance = fit.noise * (1 + leverage).unsqueeze(1)
        logits = self.beta * _deviations(mean, variance) if self.of_classes else None
        return LinearPrediction(mean, variance, leverage, logits)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        r"""Compute :math:`\beta z`, ``(N, C)``."""
        found = self.predict(features)
        return self.beta * _deviations(found.mean, found.variance)

    @torch.no_grad()
    def leave_one_out(self, features: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        r"""Compute the predictive mean of examples that were learned, as if each had been left out, ``(N, C)``.

        In closed form it is :math:`(m_i - w_i h_i y_i) / (1 - w_i h_i)`, at the same :math:`\lambda`, where the weight
        :math:`w_i` of the example is 1 unless examples are forgotten.

        Args:
            features: ``(N, D)``, of examples that the head has learned.
            y: their targets, as for :meth:`~bayeshnet.exact.ExactHead.update`.
            weight: their weights in the sums ``(N,)``; see :meth:`~bayeshnet.exact.ExactHead.left_out_logits`.
        """
        if self.of_classes:
            wide, targets = self._learned(features, y)
        else:
            wide, targets = self._wide(features), self._checked(features, y)[1]
        fit = self.fit()
        inner = self._weights(weight, features, y.to(self.labels.device)) * _leverage(fit, wide).unsqueeze(1)
        return _left_out(wide @ fit.weight, targets.to(wide), inner)

    @torch.no_grad()
    def left_out_logits(self, features: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        r"""Compute :math:`\beta z` of examples that were learned, as if each had been left out, ``(N, C)``."""
        wide, targets = self._learned(features, y)
        return self.beta * self._left_out_deviations(wide, targets, self._weights(weight, features, y.to(self.labels)))

    @torch.no_grad()
    def calibrate(self, features: Tensor, y: Tensor, *, learned: bool = True, weight: Tensor | None = None) -> Self:
        r"""Add examples to those by which :math:`\beta` is chosen: it maximizes the sum of their log-probabilities.

        The log-probabilities of the examples' classes are added to a tally over 61 values of :math:`\beta`; of the
        examples nothing else is stored. Examples of classes that the head does not know yet are passed over.

        Args:
            features: ``(N, D)``.
            y: classes ``(N,)``.
            learned: True for examples that the head has learned, which are predicted as if each had been left out;
                False for examples that come later.
            weight: weights in the sums ``(N,)`` of examples that the head has learned; see
                :meth:`~bayeshnet.exact.ExactHead.left_out_logits`.

        Returns:
            The head itself.
        """
        if not self.of_classes:
            raise value_error("y", expected="a head of classes", found="one of values")
        check_flags(learned=learned)
        wide = self._wide(features)
        _, targets = self._checked(features, y)
        known = torch.isin(targets, self.labels)
        if weight is not None:
            weight = self._weights(weight, features, targets)[known, 0]
        wide, targets = wide[known], targets[known]
        one = (targets.unsqueeze(1) == self.labels).to(wide)
        if learned:
            deviations = self._left_out_deviations(wide, one, self._weights(weight, wide, targets))
        else:
            fit = self.fit()
            deviations = _deviations(wide @ fit.weight, fit.noise * (1 + _leverage(fit, wide)).unsqueeze(1))
        own = [(beta * deviations).log_softmax(1)[one.bool()].sum() for beta in _grid()]
        self.tally.add_(torch.stack(own).to(self.tally))
        self.chosen.copy_(torch.tensor([self.fit().ridge, self.count], dtype=torch.float64))
        return self

    @property
    def beta(self) -> float:
        r"""The number :math:`\beta`: 1.7, or that of the highest sum of log-probabilities so far."""
        return _grid()[int(self.tally.argmax())] if bool(self.tally.any()) else _LOGISTIC

    def _left_out_deviations(self, wide: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Return the deviations without each example, whose leverage by the others is ``h / (1 - w h)``."""
        fit = self.fit()
        leverage = _leverage(fit, wide).unsqueeze(1)
        inner = weight * leverage
        variance = fit.noise * (1 + (leverage - inner)) / _rest(inner)
        return _deviations(_left_out(wide @ fit.weight, targets, inner), variance)

    def _fit(self) -> Fit:
        ridge, count = self.chosen.tolist()
        if count == self.count:  # a head that was calibrated, and has been loaded or copied
            return self._at(ridge)
        start = None
        if len(self.gram) > _WIDE:  # a part of the features says about where the maximum is
            start = self._best(_PART) + math.log(len(self.gram) / _PART)
            earlier = math.log(ridge) if ridge > 0 else -math.inf
            start = earlier if abs(earlier - start) < _NEAR else start
        return self._at(math.exp(self._best(len(self.gram), start)))

    def _best(self, width: int, start: float | None = None) -> float:
        """Return the logarithm of the ridge that maximizes the evidence of the first ``width`` features."""
        level = math.log(float(self.gram.trace()))

        def evidence(log_ridge: float) -> float:
            return self._at(math.exp(log_ridge), width).log_evidence

        return maximize_slow(evidence, level - _BELOW, level + _ABOVE, start)

    def _at(self, ridge: float, width: int | None = None) -> Fit:
        """Return the posterior at a ridge, with the noise that maximizes the evidence."""
        number, cross = self.count, self.cross[:width]
        shifted = self.gram[:width, :width].clone()
        shifted.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if bool(failed):
            return Fit(cross, factor, ridge, self.square, -math.inf)
        weight = torch.cholesky_solve(cross, factor)
        rest = (self.square - (cross * weight).sum(0)).clamp_min(0)
        noise = torch.maximum(rest, _LEAST_NOISE * self.square).clamp_min(1e-300) / number
        log_det = 2 * float(factor.diagonal().log().sum()) - len(factor) * math.log(ridge)
        terms = number * (2 * math.pi * noise).log() + log_det + rest / noise
        if self.of_classes:  # a class without examples has no evidence, and the noise of one; forgotten ones nearly so
            terms = terms[self.square > 0]
            known = self.square.max().clamp(1e-300, 1.0)  # with all examples forgotten classes differ as before
            noise = noise + (1 - self.square / known).clamp_min(0) / number
        return Fit(weight, factor, ridge, noise, -0.5 * float(terms.sum()))

    def _settings(self) -> dict[str, Any]:
        return {"num_features": self.num_features, "num_outputs": self.num_outputs, "forgetting": self.forgetting}


def _leverage(fit: Fit, wide: Tensor) -> Tensor:
    """Return the leverage of examples ``(N, D + 1)``."""
    found: Tensor = torch.linalg.solve_triangular(fit.factor, wide.T, upper=False).square().sum(0)
    return found


def _left_out(mean: Tensor, targets: Tensor, inner: Tensor) -> Tensor:
    """Return the predictive means of learned examples without each, given leverages times weights."""
    return (mean - inner * targets) / _rest(inner)


def _rest(leverage: Tensor) -> Tensor:
    """Return what a leverage lacks of one, a rounding error at least."""
    return (1 - leverage).clamp_min(torch.finfo(leverage.dtype).eps)


def _deviations(mean: Tensor, variance: Tensor) -> Tensor:
    """Return by how many standard deviations means exceed one half."""
    return (mean - 0.5) / variance.sqrt()


def _grid() -> list[float]:
    """Return the values of the inverse temperature, each 8 % above the one before."""
    return [_LOWEST * (_HIGHEST / _LOWEST) ** (i / (_BETAS - 1)) for i in range(_BETAS)]
