"""Running moments of predictions over weight draws that come in chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from ..guides import Likelihood

__all__ = ["Moments"]


class Moments:
    """Mean, variance and noise of predictions; chunks are joined by their deviations, so that nothing cancels.

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self, likelihood: Likelihood | None) -> None:
        """Begin without a draw."""
        self.likelihood = likelihood
        self.count = 0
        self._mean = self._squares = self._noise = torch.empty(0)

    def add(self, outputs: Tensor) -> None:
        """Take the outputs ``(S, N, C)`` under more draws."""
        likelihood, count = self.likelihood, len(outputs)
        values = outputs if likelihood is None else likelihood.mean(outputs)
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        noise = outputs.new_zeros(outputs.shape[1]) if likelihood is None else likelihood.noise(outputs).sum(0)
        if not self.count:
            self._mean, self._squares, self._noise = mean, squares, noise
        else:
            total = self.count + count
            shift = mean - self._mean
            self._mean = self._mean + shift * (count / total)
            self._squares = self._squares + squares + shift.square() * (self.count * count / total)
            self._noise = self._noise + noise
        self.count += count

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean ``(N, C)``, variance of the mean ``(N, C)``, noise ``(N,)`` and total uncertainty ``(N,)``."""
        spread, noise = self._squares / self.count, self._noise / self.count
        if self.likelihood is None:
            return self._mean, spread, noise, spread.sum(-1)
        return self._mean, spread, noise, self.likelihood.total(self._mean, spread, noise)
