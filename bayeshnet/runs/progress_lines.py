"""The progress of a run in lines of text: one for each task, one a minute while it is learned; and ``log.txt``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast, final

from ..files import append_text
from ..inference import Callback, Run
from ..tasks import TaskStream
from .listener import Listener
from .results.records import Assessment

__all__ = ["LOG", "ProgressLines", "log_said", "saying"]

LOG = "log.txt"
"""Name of the file, in the folder of a run, of all that the run says."""

_LIBRARY = __name__.partition(".")[0]
_PARTS = {"nll": "NLL", "kl": "KL"}


def log_said(folder: Path, text: str) -> None:
    """Append what a run says to its ``log.txt``, each line with the time."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    append_text(folder / LOG, "".join(f"{now}  {line}".rstrip() + "\n" for line in text.splitlines() or [""]))


@contextmanager
def saying(folder: Path, head: str, listener: Listener | None) -> Iterator[Listener]:
    """Yield a listener that also writes the progress, warnings of the library and the end of a run to ``log.txt``.

    Args:
        folder: folder of the run.
        head: the first line.
        listener: another listener, to which all events are passed on.
    """

    def say(line: str) -> None:
        log_said(folder, line)

    say(head)
    handler, library = _Handler(say), logging.getLogger(_LIBRARY)
    library.addHandler(handler)
    try:
        yield ProgressLines(say, listener=listener)
    except BaseException as error:
        with suppress(OSError):
            say(f"stopped by {type(error).__name__}" + (f": {error}" if str(error) else ""))
        raise
    finally:
        library.removeHandler(handler)


@final
class ProgressLines:
    """Listener that says the progress of a run in lines of text.

    Args:
        say: called with each line.
        listener: another listener, to which all events are passed on.
        interval: seconds between two lines while a task is learned.
    """

    def __init__(self, say: Callable[[str], None], *, listener: Listener | None = None, interval: float = 60.0) -> None:
        self.say, self.listener, self.interval = say, listener, interval
        self._parts = ""

    def callbacks(self, number: int, stream: TaskStream) -> Sequence[Callback]:
        """Return the other listener's callbacks, and one that says a line each minute."""
        others = () if self.listener is None else self.listener.callbacks(number, stream)
        return [*others, cast(Callback, _Lines(self, _name(number, stream)))]

    def task_done(self, number: int, stream: TaskStream, record: Assessment) -> None:
        """Say the results of a task."""
        given = sum(record.given) / len(record.given)
        result = f"accuracy {100 * given:.1f} %" if stream.kind == "classification" else f"MSE {given:.4f}"
        seconds = record.seconds
        self.say(
            f"{_name(number, stream)}: {result} on the tasks so far{self._parts}; "
            f"{seconds.train:.1f} s of training, {seconds.assess:.1f} s of assessment"
        )
        self._parts = ""
        if self.listener is not None:
            self.listener.task_done(number, stream, record)

    def stream_done(self, stream: TaskStream) -> None:
        """Say that results come next."""
        self.say("all tasks are learned; results, figures and the report are written")
        if self.listener is not None:
            self.listener.stream_done(stream)

    def note(self, run: Run) -> None:
        """Note the parts of the loss at the end of a task."""
        self._parts = _of(run)


@final
class _Lines:
    """Callback that says a line at intervals, and where a task goes on."""

    def __init__(self, lines: ProgressLines, name: str) -> None:
        self.lines, self.name = lines, name
        self._last = 0.0

    def on_start(self, run: Run) -> None:
        """Say where a task goes on, if an earlier process began it."""
        self._last = time.perf_counter()
        if run.step:
            self.lines.say(f"{self.name}: goes on after step {run.step} of {run.num_steps}")

    def on_step(self, run: Run) -> None:
        """Say the step if the interval is over."""
        now = time.perf_counter()
        if now - self._last >= self.lines.interval:
            self._last = now
            left = f"{run.rate:.0f} steps/s, {run.eta:.0f} s left{_of(run)}"
            self.lines.say(f"{self.name}: step {run.step} of {run.num_steps}, {left}")

    def on_end(self, run: Run) -> None:
        """Note the parts of the loss."""
        self.lines.note(run)


@final
class _Handler(logging.Handler):
    """Handler of log records that says warnings and errors."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record."""
        with suppress(OSError):
            self.say(f"{record.levelname.lower()}: {record.getMessage()}")
        others = [*logging.getLogger(_LIBRARY).handlers, *logging.getLogger().handlers]
        if all(handler is self for handler in others) and logging.lastResort is not None:
            logging.lastResort.handle(record)  # as without this handler


def _name(number: int, stream: TaskStream) -> str:
    return f"task {number + 1}/{len(stream)} {stream[number].name}"


def _of(run: Run) -> str:
    """Return the parts of the loss in the last steps."""
    means = run.means(50) if run.step > run.first_step else {}
    return "".join(f", {label} {means[name]:.4g}" for name, label in _PARTS.items() if name in means)
