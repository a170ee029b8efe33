"""Schedules: numbers that change from step to step, for the learning rate and for the temperature of the KL."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import check_int, check_number, check_positive

__all__ = ["Annealing", "Cosine", "LinearWarmup", "Schedule", "check_temperature"]

Schedule = Callable[[int], float]
"""A function of the step, counted from 0, that returns a number."""


_BEYOND = 1e300
"""A number of steps of which every step that is reached is the beginning."""


def check_temperature(beta: Any) -> float:
    """Return a temperature of the KL that fits into single precision."""
    return check_number("beta", beta, 0.0, 1e30)


def _share(step: int, num_steps: int) -> float:
    """Return the share of the steps that lie behind ``step``."""
    number = check_number("step", step)
    return min(max(number, 0.0) / num_steps, 1.0) if num_steps < _BEYOND else 0.0


@dataclass(frozen=True)
class Cosine:
    r"""A factor that falls from 1 to ``final`` along half a cosine, and stays there.

    .. math:: f(t) = f_{end} + \tfrac12 (1 - f_{end}) (1 + \cos(\pi t / T)).

    Args:
        num_steps: number ``T`` of steps.
        final: the factor at the end.

    Example:
        >>> rate = Cosine(100)
        >>> rate(0), round(rate(50), 3), rate(100)
        (1.0, 0.505, 0.01)
    """

    num_steps: int
    final: float = 0.01

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_int("num_steps", self.num_steps, 1)
        check_number("final", self.final, 0.0, 1.0)

    def __call__(self, step: int) -> float:
        """Return the factor at ``step``."""
        part = _share(step, self.num_steps)
        return self.final + 0.5 * (1 - self.final) * (1 + math.cos(math.pi * part))


@dataclass(frozen=True)
class LinearWarmup:
    """A number that goes from ``start`` to ``end`` in ``num_steps`` equal steps and stays there, for KL warm-up.

    Args:
        num_steps: number of steps from ``start`` to ``end``.
        start: the number at step 0.
        end: the number from step ``num_steps`` on.

    Example:
        >>> beta = LinearWarmup(10)
        >>> beta(0), beta(5), beta(1000)
        (0.0, 0.5, 1.0)
    """

    num_steps: int
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_int("num_steps", self.num_steps, 1)
        check_number("start", self.start)
        check_number("end", self.end)

    def __call__(self, step: int) -> float:
        """Return the number at ``step``."""
        return self.start + (self.end - self.start) * _share(step, self.num_steps)


@dataclass(frozen=True)
class Annealing:
    r"""A temperature that falls geometrically from ``start`` to 1 in ``num_steps`` steps, and stays there.

    .. math:: \beta(t) = \beta_0^{1 - t / T}.

    As ``beta`` of :func:`~bayeshnet.inference.fit` it keeps a guide wide at first, near the prior, so that it can cover
    all modes of the posterior, where a guide that is narrow from the beginning finds one.

    Args:
        num_steps: number ``T`` of steps.
        start: the temperature :math:`\beta_0` at step 0.

    Example:
        >>> beta = Annealing(10, start=9.0)
        >>> beta(0), round(beta(5), 6), beta(10)
        (9.0, 3.0, 1.0)
    """

    num_steps: int
    start: float = 3.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_int("num_steps", self.num_steps, 1)
        check_positive("start", self.start)

    def __call__(self, step: int) -> float:
        """Return the temperature at ``step``."""
        return float(self.start ** (1 - _share(step, self.num_steps)))
