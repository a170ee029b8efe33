"""The protocol of loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["MetricLogger"]


class MetricLogger(Protocol):
    """Protocol of what receives the numbers of a run: three methods, called in this order.

    Numbers are named ``group/name``, such as ``train/loss`` and ``test/accuracy``. Steps count the optimizer steps of
    all tasks from 0; rows come in ascending order.
    """

    def begin(self, step: int, settings: Mapping[str, str]) -> None:
        """Begin, or go on after a run was stopped: rows of ``step`` and later ones are to come, for the first time.

        Args:
            step: number of steps that are known already. Rows of this step and later ones that an earlier process
                wrote are to be forgotten, since they come once more.
            settings: settings of the experiment, as text by name.
        """

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write a row of numbers of one step."""

    def close(self) -> None:
        """Write what has not been written yet; called at the end of the run, also after an error."""
