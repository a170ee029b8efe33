"""The listener that sends the numbers of a run to loggers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

from ...checks import check_items
from ...errors import check_int, type_error
from ...inference import Callback, Run
from ...inference.run import PARTS
from ...tasks import TaskStream
from ..listener import Listener
from ..results.records import Assessment
from .protocol import MetricLogger

__all__ = ["RunLog", "check_logger_list", "task_values"]

_METHODS = ("begin", "log", "close")


@final
class RunLog:
    """Listener of a run that sends means of the parts of the loss, and results after each task, to loggers.

    Losses are read from the device once in ``every`` steps and at the end of a task. A row of ``every`` steps has the
    number of the last of them, from 0; results have the number of steps made so far. A task that is learned without
    steps counts as one step.

    Args:
        loggers: where the numbers go.
        settings: settings of the experiment, as text by name.
        known: assessments of the tasks that were learned before.
        every: number of steps of which means are taken.
        split: name of the examples on which tasks are assessed.
        listener: another listener, to which all events are passed on.
    """

    def __init__(
        self,
        loggers: Sequence[MetricLogger],
        settings: Mapping[str, str],
        known: Sequence[Assessment] = (),
        *,
        every: int = 100,
        split: str = "test",
        listener: Listener | None = None,
    ) -> None:
        self.loggers = check_logger_list(loggers)
        self.settings, self.known, self.split, self.listener = settings, list(known), split, listener
        self.every = check_int("log_every", every, 1)
        self.step = sum(map(_steps_of, self.known))
        self._has_begun = False

    def callbacks(self, number: int, stream: TaskStream) -> Sequence[Callback]:
        """Return the other listener's callbacks, and one that records the parts of the loss."""
        self._begin()
        own = cast(Callback, _TrainingRows(self, number))
        return [*(self.listener.callbacks(number, stream) if self.listener is not None else ()), own]

    def task_done(self, number: int, stream: TaskStream, record: Assessment) -> None:
        """Send the results after a task."""
        steps = _steps_of(record)
        if not self._has_begun:  # what an earlier process had learned, it has also logged
            self.step += steps
            self._begin()
        else:
            self.step += steps
        self.log(task_values(record, self.split), self.step)
        if self.listener is not None:
            self.listener.task_done(number, stream, record)

    def stream_done(self, stream: TaskStream) -> None:
        """Pass the event on."""
        if self.listener is not None:
            self.listener.stream_done(stream)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers that are known to all loggers."""
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        for logger in self.loggers:
            logger.log(known, step)

    def close(self) -> None:
        """Close all loggers."""
        for logger in self.loggers if self._has_begun else ():
            logger.close()

    def _begin(self) -> None:
        """Begin all loggers, and send the last results once more, of which a killed process may not have come to."""
        if self._has_begun:
            return
        self._has_begun = True
        for logger in self.loggers:
            logger.begin(self.step, self.settings)
        if self.known and self.step == sum(map(_steps_of, self.known)):
            self.log(task_values(self.known[-1], self.split), self.step)


@final
class _TrainingRows:
    """Callback that sends means of the parts of the loss over blocks of steps."""

    def __init__(self, log: RunLog, number: int) -> None:
        self.run_log, self.number = log, number
        self.sent = 0

    def on_start(self, run: Run) -> None:
        """Send the rows of a run that goes on at a step once more, as an earlier process sent them."""
        self.sent, table = run.first_step, run.table().double()
        while len(table) - self.sent + run.first_step >= self.run_log.every:
            begin = self.sent - run.first_step
            means = table[begin : begin + self.run_log.every].mean(0).tolist()
            self.sent += self.run_log.every
            self._log({name: value for name, value in zip(PARTS, means, strict=True) if value == value})

    def on_step(self, run: Run) -> None:
        if run.step - self.sent >= self.run_log.every:
            self._send(run)

    def on_end(self, run: Run) -> None:
        if run.step > self.sent:
            self._send(run)

    def _send(self, run: Run) -> None:
        means = run.means(run.step - self.sent)
        self.sent = run.step
        self._log(means)

    def _log(self, means: Mapping[str, float]) -> None:
        values = {f"train/{name}": value for name, value in {"task": float(self.number + 1), **means}.items()}
        self.run_log.log(values, self.run_log.step + self.sent - 1)


def task_values(record: Assessment, split: str = "test") -> dict[str, float]:
    """Return the numbers of an assessment by name: means over the tasks learned so far, and each task's own result."""
    name = "accuracy" if record.kind == "classification" else "mse"
    found = {"task": float(record.task + 1), name: _mean(record.given)}
    found |= {f"{name}_task_{number}": value for number, value in enumerate(record.given, 1)}
    found |= {f"{name}_inferred_by_{criterion}": _mean(values) for criterion, values in record.inferred.items()}
    scores = vars(record.scores)
    found |= {key: _mean(values) for key, values in scores.items() if isinstance(values, (tuple, list))}
    found |= {"seconds_train": record.seconds.train, "seconds_assess": record.seconds.assess}
    return {f"{split}/{key}": float(value) for key, value in found.items()}


def check_logger_list(loggers: Any) -> list[MetricLogger]:
    """Return the loggers if each has the methods of one."""
    expected = f"a list of objects with the methods {', '.join(_METHODS)}"
    found = list(check_items("loggers", loggers, expected))
    for logger in found:
        if isinstance(logger, type) or not all(callable(getattr(logger, name, None)) for name in _METHODS):
            raise type_error("loggers", expected=expected, got=logger)
    return found


def _steps_of(record: Assessment) -> int:
    """Return the number of steps in which a task was learned, one if it was learned without."""
    steps = record.curves.get("step", ())
    return max(int(steps[-1]), 1) if len(steps) else 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if len(values) else math.nan
