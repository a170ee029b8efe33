"""The display of ``bayeshnet run``: a progress bar per task with rate, remaining time and the parts of the loss."""

from __future__ import annotations

import io
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, final

from ..errors import MissingExtraError
from ..inference import Callback, Progress, Run
from ..runs.listener import Listener
from ..runs.progress_lines import ProgressLines, log_said
from ..runs.results.records import Assessment
from ..tasks import TaskStream

__all__ = ["Display", "LoggedConsole", "make_console", "make_display"]


_WIDTH = 160


def make_console() -> Any:
    """Make a rich console on standard output; lines have 160 characters if that is not a terminal."""
    try:
        from rich.console import Console
    except ImportError:
        raise MissingExtraError("rich", "app", "the command line") from None
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def make_display(console: Any) -> AbstractContextManager[Listener]:
    """Make progress bars on a terminal; elsewhere lines, one for each task and one a minute."""
    if console.is_terminal:
        return Display(console)
    return nullcontext(ProgressLines(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)))


@final
class LoggedConsole:
    """Console whose lines also go to ``log.txt`` in the folder of a run.

    Args:
        console: console of the package rich.
        folder: folder of the run.
    """

    def __init__(self, console: Any, folder: Path) -> None:
        self.console, self.folder = console, folder

    def print(self, *things: Any, **options: Any) -> None:
        """Print on the console, and as plain text to the file."""
        from rich.console import Console

        self.console.print(*things, **options)
        text = io.StringIO()
        Console(file=text, width=_WIDTH, force_terminal=False, color_system=None).print(*things, **options)
        log_said(self.folder, text.getvalue())


@final
class Display:
    """Progress bars of a run; a context manager and a :class:`~bayeshnet.runs.Listener`.

    Args:
        console: console of the package rich.
    """

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._last_message = console.status("assessing, drawing, writing")
        self._bar: Any = None
        self._loss = ""

    def __enter__(self) -> Display:
        """Show the bars."""
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop updating and leave the bars on the screen."""
        if self.bars.live.is_started:
            self.bars.stop()
        self._last_message.stop()

    def callbacks(self, number: int, stream: TaskStream) -> list[Callback]:
        """Add a bar for task ``number`` and return the callback that updates it."""
        name = f"task {number + 1}/{len(stream)}  {stream[number].name}"
        self._bar = self.bars.add_task(name, total=1, status="")
        return [Progress(self._report, interval=0.2)]

    def task_done(self, number: int, stream: TaskStream, record: Assessment) -> None:
        """Show the mean result on the tasks learned so far."""
        given = sum(record.given) / len(record.given)
        result = f"accuracy {100 * given:.1f} %" if stream.kind == "classification" else f"MSE {given:.4f}"
        self.bars.update(self._bar, status=f"{self._loss}  {result}")
        self.bars.refresh()

    def stream_done(self, stream: TaskStream) -> None:
        """Replace the moving bars by a message until the results are written."""
        self.bars.stop()
        self._last_message.start()

    def _report(self, run: Run) -> None:
        window = min(50, run.step - run.first_step)
        status = ""
        if window:
            nll, kl = run.mean("nll", window), run.mean("kl", window)
            self._loss = f"NLL {nll:.3f}" + (f"  KL {kl:.0f}" if kl == kl else "")
            status = f"{run.rate:.0f} steps/s  ETA {run.eta:.0f} s  {self._loss}"
        self.bars.update(self._bar, completed=run.step, total=run.num_steps, status=status)
