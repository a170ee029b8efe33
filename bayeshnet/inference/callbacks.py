"""Callbacks of the training loop: progress and early stopping."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..errors import check_int, check_number
from .run import Callback, Run

__all__ = ["EarlyStopping", "LogProgress", "Progress"]

logger = logging.getLogger(__name__)


class Progress(Callback):
    """Calls ``report(run)`` at the start, every so often and at the end: the seam for progress bars.

    Args:
        report: told about the run; ``run.step``, ``run.rate``, ``run.eta`` and ``run.parts`` are what it may show.
        interval: least seconds between two calls.
    """

    def __init__(self, report: Callable[[Run], None], interval: float = 0.1) -> None:
        self.report = report
        self.interval = check_number("interval", interval, minimum=0.0)
        self._last = 0.0

    def on_start(self, run: Run) -> None:
        """Report the start."""
        self._last = time.perf_counter()
        self.report(run)

    def on_step(self, run: Run) -> None:
        """Report if it is time."""
        now = time.perf_counter()
        if now - self._last >= self.interval:
            self._last = now
            self.report(run)

    def on_end(self, run: Run) -> None:
        """Report the end."""
        self.report(run)


class LogProgress(Progress):
    """Writes rate, remaining time and the loss's parts to the log ``bayeshnet.inference.callbacks``.

    Args:
        interval: least seconds between two lines.
        level: of the log records.
    """

    def __init__(self, interval: float = 5.0, level: int = logging.INFO) -> None:
        super().__init__(self._write, interval)
        self.level = level

    def _write(self, run: Run) -> None:
        if logger.isEnabledFor(self.level):
            parts = ", ".join(f"{name} {value:.4g}" for name, value in run.parts.items() if value == value)
            text = "step %d of %d, %.1f steps/s, %.0f s left: %s"
            logger.log(self.level, text, run.step, run.num_steps, run.rate, run.eta, parts)


class EarlyStopping(Callback):
    """Ends the run when what is monitored has not fallen for a while.

    Args:
        patience: how many looks without a new minimum are borne.
        every: steps between two looks.
        min_delta: what counts as a new minimum must be lower by this much.
        monitor: what to look at, such as a validation loss; None for the mean loss since the last look.
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
        """Look, and stop the run if it is time."""
        if (run.step - run.first_step) % self.every:
            return
        value = run.mean("loss", self.every) if self.monitor is None else self.monitor(run)
        if value < self.best - self.min_delta:
            self.best, self.worse = value, 0
        else:
            self.worse += 1
        if self.worse >= self.patience:
            run.stop(f"early: no improvement for {self.worse * self.every} steps")
