"""Callbacks of the training loop: progress and early stopping."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from ..errors import check_int, check_number
from ..representation import Settings
from .run import Callback, Run

__all__ = ["EarlyStopping", "LogProgress", "PeriodicReport", "Progress"]

logger = logging.getLogger(__name__)


class PeriodicReport(Settings, Callback, ABC):
    """A callback that reports at the start, at intervals and at the end.

    Args:
        interval: least seconds between two reports.
    """

    def __init__(self, interval: float) -> None:
        self.interval = check_number("interval", interval, minimum=0.0)
        self._last = 0.0

    @abstractmethod
    def write(self, run: Run) -> None:
        """Report the state of the run."""

    def on_start(self, run: Run) -> None:
        """Report the start."""
        self._last = time.perf_counter()
        self.write(run)

    def on_step(self, run: Run) -> None:
        """Report if the interval is over."""
        now = time.perf_counter()
        if now - self._last >= self.interval:
            self._last = now
            self.write(run)

    def on_end(self, run: Run) -> None:
        """Report the end."""
        self.write(run)


class Progress(PeriodicReport):
    """A callback that calls ``report(run)`` at the start, at intervals and at the end, for progress bars.

    Args:
        report: a function of the run, which may show ``run.step``, ``run.rate``, ``run.eta`` and ``run.parts``.
        interval: least seconds between two calls.
    """

    def __init__(self, report: Callable[[Run], None], interval: float = 0.1) -> None:
        super().__init__(interval)
        self.report = report

    def write(self, run: Run) -> None:
        """Call the function."""
        self.report(run)


class LogProgress(PeriodicReport):
    """A callback that logs rate, remaining time and the parts of the loss to ``bayeshnet.inference.callbacks``.

    Args:
        interval: least seconds between two lines.
        level: of the log records.
    """

    def __init__(self, interval: float = 5.0, level: int = logging.INFO) -> None:
        super().__init__(interval)
        self.level = level

    def write(self, run: Run) -> None:
        """Write a line to the log."""
        if logger.isEnabledFor(self.level):
            parts = ", ".join(f"{name} {value:.4g}" for name, value in run.parts.items() if value == value)
            text = "step %d of %d, %.1f steps/s, %.0f s left: %s"
            logger.log(self.level, text, run.step, run.num_steps, run.rate, run.eta, parts)


class EarlyStopping(Settings, Callback):
    """A callback that stops the run when the monitored value no longer falls.

    Args:
        patience: number of checks without improvement before stopping.
        every: steps between two checks.
        min_delta: least decrease below the minimum so far that counts as an improvement.
        monitor: a function of the run that returns the monitored value, such as a validation loss; None for the mean
            loss since the last check.
    """

    def __init__(
        self,
        patience: int = 5,
        every: int = 100,
        min_delta: float = 0.0,
        monitor: Callable[[Run], float] | None = None,
    ) -> None:
        self.patience = check_int("patience", patience, 1)
        self.every = check_int("every", every, 1)
        self.min_delta = check_number("min_delta", min_delta, minimum=0.0)
        self.monitor = monitor
        self.best = float("inf")
        self.worse = 0

    def on_start(self, run: Run) -> None:
        """Forget earlier runs."""
        self.best, self.worse = float("inf"), 0

    def on_step(self, run: Run) -> None:
        """Check the monitored value if it is time, and stop the run if it has not improved for long enough."""
        if (run.step - run.first_step) % self.every:
            return
        value = run.mean("loss", self.every) if self.monitor is None else self.monitor(run)
        if value < self.best - self.min_delta:
            self.best, self.worse = value, 0
        else:
            self.worse += 1
        if self.worse >= self.patience:
            run.stop(f"early: no improvement for {self.worse * self.every} steps")
