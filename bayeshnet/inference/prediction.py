"""The record of a prediction: mean, and uncertainty by its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from ..errors import value_error
from ..guides import Likelihood
from ..guides.likelihoods.places import AtPlaces, PlacedDistribution
from ..representation import html_table
from .plots import plot_classes, plot_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Moments", "Prediction", "normal_mixture_quantile", "predictive_quantiles"]


@dataclass(frozen=True)
class Prediction:
    r"""Predictions for ``N`` inputs, averaged over ``S`` draws of the weights.

    Classes are measured in nats, with :math:`\bar p = \frac1S \sum_s p_s`:
    :math:`H[\bar p] = \frac1S \sum_s H[p_s] + I(y; w)`. Values are measured by variances, summed over targets, by the
    law of total variance: variance of the target = mean variance of the noise + variance of the mean.

    Answers per pixel or step have the dimensions of these places last: ``(N, C, *P)`` instead of ``(N, C)``, and
    ``(N, *P)``, a map, instead of ``(N,)``.

    Attributes:
        mean: class probabilities or mean of the targets, ``(N, C)``.
        total: total uncertainty, ``(N,)``.
        aleatoric: uncertainty under known weights, ``(N,)``.
        epistemic: uncertainty from unknown weights, ``total - aleatoric``, ``(N,)``; for classes the mutual information
            between class and weights.
        spread: variance over draws of the mean, ``(N, C)``.
        kind: ``"classification"`` or ``"regression"``.
        num_samples: number ``S`` of draws.
        samples: mean under each draw ``(S, N, C)``, if requested.
        quantiles: by level, ``(N, C)``, if requested: of the targets, noise included, for values; of the probabilities
            over draws for classes.
        exclusive: for classes, True if one of ``C`` is right, False if each of ``C`` answers is yes or no.
        logits: for classes of which one is right, the network's outputs, averaged over draws, of the shape of ``mean``;
            None for others. They say how large outputs are, which probabilities do not.
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
    exclusive: bool = True
    logits: Tensor | None = None

    def __repr__(self) -> str:
        """Show kind, sizes and the means of the uncertainties over inputs."""
        return f"Prediction({', '.join(f'{name}={value}' for name, value in self._shown().items())})"

    def _repr_html_(self) -> str:
        """Show the same as a small table, in notebooks."""
        return html_table(self._shown())

    def _shown(self) -> dict[str, str]:
        shown = {
            "kind": repr(self.kind),
            "mean": f"tensor{tuple(self.mean.shape)}",
            "num_samples": str(self.num_samples),
        }
        unit = "nats" if self.kind == "classification" else "variance"
        for name in ("total", "aleatoric", "epistemic"):
            shown[name] = f"{getattr(self, name).double().mean().item():.4g} ({unit}, mean of {len(self.mean)})"
        if self.samples is not None:
            shown["samples"] = f"tensor{tuple(self.samples.shape)}"
        if self.quantiles:
            shown["quantiles"] = str(list(self.quantiles))
        return shown

    def plot(self, x: Tensor | None = None, ax: Axes | None = None) -> Axes:
        """Draw values with bands of two standard deviations over ``x``, or the probabilities of classes.

        Args:
            x: one-dimensional inputs ``(N,)`` or ``(N, 1)`` of values; their numbers if None.
            ax: axes of matplotlib, of the extra ``app``; those of a new figure if None.
        """
        if self.kind == "classification":
            return plot_classes(self.probs, ax)
        return plot_values(self.mean, self.total, self.aleatoric, x, ax)

    @property
    def confidence(self) -> Tensor:
        """Probability of :attr:`label`, of the same shape: of the most likely class, or of each yes or no."""
        if self.kind != "classification":
            raise ValueError("confidence: expected a prediction of classes, got one of values. Use total.")
        if self.exclusive:
            return self.mean.amax(1)
        return _single(torch.maximum(self.mean, 1 - self.mean))

    @property
    def certainty(self) -> Tensor:
        """Probability that all of :attr:`label` is right, ``(N,)``: a product over independent answers and places."""
        return self.confidence.flatten(1).prod(1) if self.confidence.ndim > 1 else self.confidence

    @property
    def disagreement(self) -> Tensor:
        """Standard deviation over draws of the mean, averaged over ``C``: ``(N,)``."""
        return self.spread.sqrt().mean(1)

    @property
    def label(self) -> Tensor:
        """The most likely class, ``(N,)``; of yes-or-no answers 1 for yes: ``(N,)`` for one, else ``(N, C)``."""
        if self.kind != "classification":
            raise ValueError("label: expected a prediction of classes, got one of values. Use mean.")
        return self.mean.argmax(1) if self.exclusive else _single((self.mean > 0.5).long())

    @property
    def probs(self) -> Tensor:
        """Probabilities ``(N, C)`` of classes, which metrics take; no and yes, ``(N, 2)``, for a single answer."""
        if self.kind != "classification":
            raise ValueError("probs: expected a prediction of classes, got one of values. Use mean.")
        if self.exclusive:
            return self.mean
        if self.mean.shape[1] != 1:
            got = f"{self.mean.shape[1]} answers of yes or no"
            raise value_error(
                "probs", expected="classes, or one answer", found=got, hint="Use mean, a column for each."
            )
        return torch.cat([1 - self.mean, self.mean], 1)

    @property
    def std(self) -> Tensor:
        """Root of the total variance, ``(N,)``, for values."""
        if self.kind != "regression":
            raise ValueError("std: expected a prediction of values, got one of classes. Use total.")
        return self.total.sqrt()


def _single(answers: Tensor) -> Tensor:
    """Return answers ``(N, C)``, or ``(N,)`` if there is one for each input."""
    return answers.squeeze(1) if answers.shape[1] == 1 else answers


class Moments:
    """Mean, variance and noise of predictions, accumulated over chunks of draws without cancellation errors.

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self, likelihood: Likelihood | None) -> None:
        self.likelihood: Likelihood | AtPlaces | None = likelihood
        self.count = 0
        self._mean = self._squares = self._noise = torch.empty(0)
        self._logits: Tensor | None = None

    def add(self, outputs: Tensor) -> None:
        """Add the outputs ``(S, N, C)``, or ``(S, N, C, *P)``, under more draws."""
        if isinstance(self.likelihood, Likelihood):
            self.likelihood = self.likelihood.on(outputs)
        likelihood, count = self.likelihood, len(outputs)
        values = outputs if likelihood is None else likelihood.mean(outputs)
        mean = values.mean(0)
        if isinstance(likelihood, Likelihood) and likelihood.kind == "classification" and likelihood.exclusive:
            logits = outputs.sum(0)
            self._logits = logits if self._logits is None else self._logits + logits
        squares = (values - mean).square().sum(0)
        noise = torch.zeros_like(outputs[0, :, 0]) if likelihood is None else likelihood.noise(outputs).sum(0)
        if not self.count:
            self._mean, self._squares, self._noise = mean, squares, noise
        else:
            total = self.count + count
            shift = mean - self._mean
            self._mean = self._mean + shift * (count / total)
            self._squares = self._squares + squares + shift.square() * (self.count * count / total)
            self._noise = self._noise + noise
        self.count += count

    @property
    def logits(self) -> Tensor | None:
        """Outputs ``(N, C)`` averaged over draws, of classes of which one is right."""
        return None if self._logits is None else self._logits / self.count

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean ``(N, C)``, variance of the mean ``(N, C)``, noise ``(N,)`` and total uncertainty ``(N,)``."""
        variance, noise = self._squares / self.count, self._noise / self.count
        if self.likelihood is None:
            return self._mean, variance, noise, variance.sum(1)
        return self._mean, variance, noise, self.likelihood.total(self._mean, variance, noise)


_BISECTIONS = 60
_DRAWS = 32


def predictive_quantiles(
    likelihood: Likelihood | None, outputs: Tensor, levels: Sequence[float]
) -> dict[float, Tensor]:
    """Compute quantiles ``(N, C)`` by level, from outputs ``(S, N, C')`` under all draws.

    Gaussian likelihoods: of the targets, exactly, by bisection of the mixture's distribution function. Counts: of
    targets drawn 32 times per weight draw. Classes, and no likelihood: of the probabilities or outputs over draws.
    """
    if likelihood is None or likelihood.kind == "classification":
        values = outputs if likelihood is None else likelihood.on(outputs).mean(outputs)
        return {level: _quantile(values, level) for level in levels}
    dist = likelihood.on(outputs).distribution(outputs)
    per_place = isinstance(dist, PlacedDistribution)
    each = dist.base if per_place else dist
    if isinstance(each, Independent) and isinstance(each.base_dist, Normal):
        normal = each.base_dist
        found = {level: normal_mixture_quantile(normal.loc, normal.scale, level) for level in levels}
        return {level: q.movedim(-1, 1) for level, q in found.items()} if per_place else found
    draws = dist.sample((_DRAWS,)).flatten(0, 1)
    return {level: _quantile(draws, level) for level in levels}


def _quantile(values: Tensor, level: float) -> Tensor:
    """Compute a quantile over the first dimension, also of no inputs."""
    return torch.quantile(values, level, dim=0) if values.numel() else values[0]


def normal_mixture_quantile(loc: Tensor, scale: Tensor, level: float) -> Tensor:
    """Compute the quantile ``(*B,)`` of the equal mixture, over the first dimension, of normals ``(S, *B)``."""
    each = loc + scale * torch.special.ndtri(torch.as_tensor(level, dtype=loc.dtype, device=loc.device))
    low, high = each.amin(0), each.amax(0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        below = torch.special.ndtr((middle - loc) / scale).mean(0) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    found: Tensor = 0.5 * (low + high)
    return found
