"""Callbacks of the training loop: progress and early stopping."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ..checks import check_callable, check_items, refusing
from ..errors import check_int, check_number, type_error
from ..representation import Settings
from .run import Callback, Run

__all__ = ["EarlyStopping", "LogProgress", "PeriodicReport", "Progress", "as_listeners"]

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
        self.report = check_callable("report", report, "a function of the run")

    def write(self, run: Run) -> None:
        """Call the function."""
        refusing("progress", self.report, "a function of the run")(run)


class LogProgress(PeriodicReport):
    """A callback that logs rate, remaining time and the parts of the loss to ``bayeshnet.inference.callbacks``.

    Args:
        interval: least seconds between two lines.
        level: of the log records.
    """

    def __init__(self, interval: float = 5.0, level: int = logging.INFO) -> None:
        super().__init__(interval)
        self.level = check_int("level", level, 0)

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
        if monitor is not None:
            check_callable("monitor", monitor, "a function of the run, or None")
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
        value = run.mean("loss", self.every) if self.monitor is None else self._monitored(self.monitor, run)
        if value < self.best - self.min_delta:
            self.best, self.worse = value, 0
        else:
            self.worse += 1
        if self.worse >= self.patience:
            run.stop(f"early: no improvement for {self.worse * self.every} steps")

    @staticmethod
    def _monitored(monitor: Callable[[Run], float], run: Run) -> float:
        return float(refusing("monitor", monitor, "a function of the run")(run))


def as_listeners(
    callbacks: Sequence[Callback], early_stopping: Callback | None, progress: Callable[[Run], None] | None
) -> list[Callback]:
    """Return all callbacks of a run, in the order in which they are called."""
    listeners = list(check_items("callbacks", callbacks, "a list of callbacks"))
    for listener in listeners:
        _check_callback("callbacks", listener)
    if early_stopping is not None:
        listeners.append(_check_callback("early_stopping", early_stopping))
    if progress is not None:
        listeners.append(Progress(check_callable("progress", progress, "a function of the run, or None")))
    return listeners


def _check_callback(argument: str, value: Any) -> Any:
    """Return an object with the methods of a :class:`Callback`."""
    methods = ("on_start", "on_step", "on_end")
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in methods):
        expected = f"an object with the methods {', '.join(methods)}"
        raise type_error(argument, expected=expected, got=value, hint="Derive it from Callback.")
    return value
