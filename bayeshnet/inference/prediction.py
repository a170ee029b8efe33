"""The record of a prediction: mean, uncertainty and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    r"""Predictions for ``N`` inputs, averaged over ``S`` draws of the weights.

    Classes are measured in nats, with :math:`\bar p = \frac1S \sum_s p_s`:
    :math:`H[\bar p] = \frac1S \sum_s H[p_s] + I(y; w)`. Values are measured by variances, summed over targets, by the
    law of total variance: variance of the target = mean variance of the noise + variance of the mean.

    Attributes:
        mean: class probabilities or mean of the targets, ``(N, C)``.
        total: total uncertainty, ``(N,)``.
        aleatoric: what remains when the weights are known, ``(N,)``.
        epistemic: what comes from not knowing the weights, ``total - aleatoric``, ``(N,)``; for classes it is the
            mutual information between class and weights.
        spread: variance over draws of the mean, ``(N, C)``.
        kind: ``"classification"`` or ``"regression"``.
        num_samples: the number ``S`` of draws.
        samples: mean under each draw ``(S, N, C)``, if they were asked for.
        quantiles: by level, ``(N, C)``, if they were asked for: of the targets, noise included, for values; of the
            probabilities over draws for classes.
    """

    mean: Tensor
    total: Tensor
    aleatoric: Tensor
    epistemic: Tensor
    spread: Tensor
    kind: str
    num_samples: int
    samples: Tensor | None = None
    quantiles: Mapping[float, Tensor] = field(default_factory=dict)

    @property
    def confidence(self) -> Tensor:
        """Probability of the likeliest class, ``(N,)``."""
        if self.kind != "classification":
            raise ValueError("confidence: expected a prediction of classes, got one of values. Use total.")
        return self.mean.amax(-1)

    @property
    def disagreement(self) -> Tensor:
        """Standard deviation over draws of the mean, averaged over ``C``: ``(N,)``."""
        return self.spread.sqrt().mean(-1)

    @property
    def label(self) -> Tensor:
        """The likeliest class, ``(N,)``."""
        if self.kind != "classification":
            raise ValueError("label: expected a prediction of classes, got one of values. Use mean.")
        return self.mean.argmax(-1)

    @property
    def std(self) -> Tensor:
        """Root of the total variance, ``(N,)``, for values."""
        if self.kind != "regression":
            raise ValueError("std: expected a prediction of values, got one of classes. Use total.")
        return self.total.sqrt()
