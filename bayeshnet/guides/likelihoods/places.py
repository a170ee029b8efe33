"""Answers per place, a pixel or a step: places are taken as examples of a likelihood, and summed for each input.

Outputs ``(*B, N, C, *P)`` have classes or values before the dimensions of the places ``P``, as torch's losses have
them. Given the outputs, the answers at different places are independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .contract import Classes, Values, beside

__all__ = ["AtPlaces", "PlacedDistribution", "places_summed"]


class AtPlaces:
    r"""A likelihood of answers per place, :math:`\log p(y_i | f_i) = \sum_p \log p(y_{ip} | f_{ip})`.

    Args:
        likelihood: of the answer at one place.
        rank: number of dimensions of the places, 1 for steps and 2 for pixels.

    Shape:
        Outputs are ``(*B, N, C, *P)``, targets ``(N, *P)`` for classes and ``(N, C, *P)`` for values, or ``(N, *P)``
        for a single value.

    Example:
        >>> from bayeshnet.guides import Categorical
        >>> logits, y = torch.zeros(5, 2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)
        >>> pixels = AtPlaces(Categorical(), rank=2)
        >>> pixels.log_prob(logits, y).shape, pixels.noise(logits).shape
        (torch.Size([5, 2]), torch.Size([5, 2, 8, 8]))
    """

    def __init__(self, likelihood: Any, rank: int) -> None:
        self.likelihood, self.rank = likelihood, rank

    def distribution(self, outputs: Tensor) -> PlacedDistribution:
        """Return the distribution of batch shape ``(*B, N)`` over the targets of all places."""
        return PlacedDistribution(self.likelihood.distribution(self._last(outputs)), self.rank)

    def targets(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return targets in the one shape and type that the distribution takes; refuse others."""
        takes, (num, size, *places) = self.likelihood.takes, outputs.shape[-2 - self.rank :]
        if takes is not None:
            converted = takes.convert(y, num, size // self.likelihood.num_outputs(1), outputs.dtype, places)
            return beside(converted, outputs)
        flat = self.likelihood.targets(self.folded(outputs), self._folded_targets(y))
        return self._unfolded(flat, (num, *places)) if flat.ndim == 2 else flat.unflatten(0, (num, *places))

    def observed(self, outputs: Tensor, y: Tensor) -> tuple[TorchDistribution, Tensor]:
        """Return distribution and targets for an observed site of a Pyro program; ignored targets are masked."""
        targets, distribution = self.targets(outputs, y), self.likelihood.distribution(self._last(outputs))
        ignored = getattr(self.likelihood.takes, "ignore_index", None)
        if ignored is None:
            return PlacedDistribution(distribution, self.rank), targets
        known = targets != ignored
        return PlacedDistribution(distribution.mask(known), self.rank), targets.where(known, 0)

    def log_prob(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the log-likelihood ``(*B, N)``, in nats, summed over places."""
        each = self.likelihood.log_prob(self.folded(outputs), self.folded_targets(outputs, y))
        return self.summed(outputs, each)

    def log_prob_sum(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute the sum ``()`` of :meth:`log_prob` over draws and data."""
        found: Tensor = self.likelihood.log_prob_sum(self.folded(outputs), self.folded_targets(outputs, y))
        return found

    def mean(self, outputs: Tensor) -> Tensor:
        """Compute the mean of the targets, probabilities for classes: ``(*B, N, C, *P)``."""
        return self._unfolded(self.likelihood.mean(self.folded(outputs)), self._shape(outputs))

    def noise(self, outputs: Tensor) -> Tensor:
        """Compute the uncertainty under known weights at each place: ``(*B, N, *P)``."""
        found: Tensor = self.likelihood.noise(self.folded(outputs)).unflatten(-1, self._shape(outputs))
        return found

    def total(self, mean: Tensor, between: Tensor, noise: Tensor) -> Tensor:
        """Compute the total uncertainty ``(N, *P)`` of a mixture over weight draws, at each place.

        Args:
            mean: mean over draws of :meth:`mean`, ``(N, C, *P)``.
            between: variance over draws of :meth:`mean`, ``(N, C, *P)``.
            noise: mean over draws of :meth:`noise`, ``(N, *P)``.
        """
        total = self.likelihood.total(self.folded(mean), self.folded(between), noise.flatten())
        found: Tensor = total.unflatten(0, self._shape(mean))
        return found

    def folded(self, outputs: Tensor) -> Tensor:
        """Return outputs ``(*B, N, C, *P)`` with places as examples, ``(*B, N * |P|, C)``."""
        return outputs.flatten(outputs.ndim - self.rank).transpose(-1, -2).flatten(-3, -2)

    def folded_targets(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return targets with places as examples, ``(N * |P|,)`` or ``(N * |P|, C)``; refuse those that do not fit."""
        return self._folded_targets(self.targets(outputs, y))

    def summed(self, outputs: Tensor, each: Tensor) -> Tensor:
        """Sum values ``(*B, N * |P|)`` over places: ``(*B, N)``."""
        num, *places = self._shape(outputs)
        found: Tensor = each.unflatten(-1, (num, math.prod(places))).sum(-1)
        return found

    def _folded_targets(self, y: Tensor) -> Tensor:
        return self.folded(y) if y.ndim == self.rank + 2 else y.flatten()

    def _last(self, outputs: Tensor) -> Tensor:
        """Return outputs ``(*B, N, *P, C)``."""
        return outputs.movedim(-1 - self.rank, -1)

    def _shape(self, outputs: Tensor) -> tuple[int, ...]:
        """Return the number of examples and the shape of places, ``(N, *P)``."""
        num, _, *places = outputs.shape[-2 - self.rank :]
        return (num, *places)

    @staticmethod
    def _unfolded(values: Tensor, shape: Sequence[int]) -> Tensor:
        """Return values ``(*B, N * |P|, C)`` as ``(*B, N, C, *P)``."""
        found: Tensor = values.unflatten(-2, tuple(shape)).movedim(-1, -len(shape))
        return found


class PlacedDistribution(TorchDistribution):
    """A distribution over the targets of all places, of batch shape ``(*B, N)``.

    Args:
        base: independent distributions of batch shape ``(*B, N, *P)``, of event shape ``()`` or ``(C,)``.
        rank: number of dimensions of the places.

    Shape:
        Targets are ``(N, *P)`` or ``(N, C, *P)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)

    def __init__(self, base: Any, rank: int) -> None:
        self.base, self.rank = base, rank
        self.has_rsample = bool(base.has_rsample)
        batch, places = base.batch_shape[:-rank], base.batch_shape[-rank:]
        super().__init__(batch, base.event_shape + places, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Support of the targets."""
        return constraints.independent(self.base.support, self.rank)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> PlacedDistribution:
        """Return the same distribution with another batch shape."""
        places = self.base.batch_shape[-self.rank :]
        return PlacedDistribution(self.base.expand(torch.Size(batch_shape) + places), self.rank)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draw targets ``(*sample_shape, *B, N, ...)``."""
        return self._first(self.base.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draw reparameterized targets ``(*sample_shape, *B, N, ...)``."""
        return self._first(self.base.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log-density of targets, summed over places: ``(*B, N)``, in nats."""
        last = value.movedim(-1 - self.rank, -1) if self.base.event_shape else value
        found: Tensor = self.base.log_prob(last).sum(tuple(range(-self.rank, 0)))
        return found

    def _first(self, value: Tensor) -> Tensor:
        return value.movedim(-1, -1 - self.rank) if self.base.event_shape else value


def places_summed(method: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """Let a log-likelihood ``(outputs, y)`` take answers per place as well, which the targets' shape tells."""

    @wraps(method)
    def summed(self: Any, outputs: Tensor, y: Tensor) -> Tensor:
        rank = _rank(self, outputs, y) if isinstance(outputs, Tensor) else 0
        if not rank:
            return method(self, outputs, y)
        places = AtPlaces(self, rank)
        found = method(self, places.folded(outputs), places.folded_targets(outputs, y))
        return places.summed(outputs, found) if found.ndim else found

    return summed


def _rank(likelihood: Any, outputs: Tensor, y: Any) -> int:
    """Return the number of dimensions of places in outputs ``(*B, N, C, *P)`` that targets have as well."""
    takes = likelihood.takes
    if not isinstance(y, Tensor) or not isinstance(takes, Classes | Values) or y.ndim < 2 or not y.numel():
        return 0
    if isinstance(takes, Classes):
        return _rank_if(1, outputs, y)
    # Values (N, C) of outputs (*B, N, C) come before single values (N, P) of outputs (*B, N, 1, P).
    if y.ndim == 2 and outputs.shape[-2:] == (len(y), likelihood.num_outputs(y.shape[1])):
        return 0
    return _rank_if(2, outputs, y) or _rank_if(1, outputs, y)


def _rank_if(own: int, outputs: Tensor, y: Tensor) -> int:
    """Return the number of dimensions of places if targets have so many of their own, or 0 if these do not fit."""
    rank = y.ndim - own
    fits = rank > 0 and outputs.ndim >= rank + 2 and outputs.shape[-2 - rank] == len(y)
    return rank if fits and outputs.shape[-rank:] == y.shape[own:] else 0
