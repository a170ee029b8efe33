"""What a person sees while a run goes on: a progress bar per task with rate, remaining time and the loss's parts."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from ..errors import MissingExtraError
from ..inference import Callback, Progress, Run
from ..runs.experiment import Listener
from ..tasks import TaskStream

__all__ = ["Display", "make_console"]


_WIDTH = 160


def make_console() -> Any:
    """A rich console on standard output; what is no terminal gets lines of 160 characters."""
    try:
        from rich.console import Console
    except ImportError:
        raise MissingExtraError("rich", "app", "the command line") from None
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


class Display(Listener):
    """Progress bars of a run, to be used as a context.

    Args:
        console: of rich.
    """

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._current: Any = None
        self._loss = ""

    def __enter__(self) -> Display:
        """Show the bars."""
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bars as they are."""
        self.bars.stop()

    def callbacks(self, number: int, stream: TaskStream) -> list[Callback]:
        """A bar for task ``number``."""
        name = f"task {number + 1}/{len(stream)}  {stream[number].name}"
        self._current = self.bars.add_task(name, total=1, said="")
        return [Progress(self._report, interval=0.2)]

    def task_done(self, number: int, stream: TaskStream, record: dict[str, Any]) -> None:
        """Say how the tasks so far are solved on average."""
        given = sum(record["given"]) / len(record["given"])
        what = f"accuracy {100 * given:.1f} %" if stream.kind == "classification" else f"MSE {given:.4f}"
        self.bars.update(self._current, said=f"{self._loss}  {what}")
        self.bars.refresh()

    def _report(self, run: Run) -> None:
        window = min(50, run.step - run.first_step)
        said = ""
        if window:
            nll, kl = run.mean("nll", window), run.mean("kl", window)
            self._loss = f"NLL {nll:.3f}" + (f"  KL {kl:.0f}" if kl == kl else "")
            said = f"{run.rate:.0f} steps/s  ETA {run.eta:.0f} s  {self._loss}"
        self.bars.update(self._current, completed=run.step, total=run.num_steps, said=said)
