"""``bayeshnet run``: learn a stream, show the results, write a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ..parallel import Processes
from ..reports import run_tables
from ..runs.execution import run_experiment
from ..runs.folder import RunFolder
from ..runs.kept_steps import kept_step
from ..runs.loggers import continued_loggers, make_loggers
from ..runs.preview import Preview, preview
from ..runs.progress_lines import log_said
from .display import LoggedConsole, make_console, make_display
from .help import run_help, wants_help
from .launching import follow_run, processes_of
from .parser import RunRequest, parse_run
from .signals import Terminated, stopped_by_signals

__all__ = ["main"]

_FAILURES = (OSError, MemoryError, torch.OutOfMemoryError, getattr(torch, "AcceleratorError", OSError))
"""Failures of disk, memory and device, which may be over when the run is resumed."""
_OF_DATA = ("data, ", "file ", "rows, ")
"""Beginnings of messages about examples that cannot be read."""


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code: 0, 2 if the disk or the device fails, 130 or 143 when stopped."""
    if wants_help(words):
        make_console().print(run_help(words), markup=False, highlight=False, soft_wrap=True)
        return 0
    request = parse_run(words)
    if request.dry_run:
        _show(preview(request.experiment, request.stream()), make_console())
        return 0
    with processes_of(request) as (group, placed):
        return follow_run(placed, group) if group.rank else _run(placed, group)


def _run(request: RunRequest, group: Processes) -> int:
    """Run the experiment as the first of the processes."""
    from rich.markup import escape

    begin, stream, console = time.perf_counter(), request.stream(), make_console()
    group.tell("the data are there")
    folder = _open_folder(request)
    console.print(
        f"[bold]{escape(request.experiment.method)}[/bold] on [bold]{escape(request.experiment.data)}[/bold], "
        f"seed {request.experiment.seed} -> {escape(str(folder.path))}"
    )
    try:
        with stopped_by_signals(), make_display(console) as display:
            loggers = make_loggers(_logger_names(request, folder), folder.path)
            trained = run_experiment(
                request.experiment, folder, display, stream=stream, loggers=loggers, log_every=request.log_every
            )
    except KeyboardInterrupt as stop:
        return _explain("\ninterrupted", request, folder, len(stream), 143 if isinstance(stop, Terminated) else 130)
    except (ValueError, TypeError) as error:
        if not folder.last_task() or not str(error).startswith(_OF_DATA):
            raise
        return _explain(f"bayeshnet run: {' '.join(str(error).split())}", request, folder, len(stream), 2)
    except _FAILURES as error:
        cause = " ".join(str(error).split()) or "out of memory"
        return _explain(f"bayeshnet run: {cause}", request, folder, len(stream), 2)
    result, console = trained.result, LoggedConsole(console, folder.path)
    for table in run_tables(result) if result is not None else ():
        console.print(table.rich())
    for name, says in result.alarms.items() if result is not None else ():
        console.print(f"[bold red]![/bold red] {escape(name)}: {escape(says)}")
    where = escape(str(folder.path))
    console.print(
        f"{time.perf_counter() - begin:.1f} s in all; metrics, checkpoints, figures and report.html in {where}"
    )
    return 0


def _show(seen: Preview, console: Any) -> None:
    """Print what a run is composed of and what it takes."""
    console.print(seen.learner, markup=False, highlight=False)
    console.print(f"{seen.tasks} tasks, {seen.examples} training examples")
    for name, number in seen.parameters.items():
        console.print(f"{name}: {number} trained parameters")
    console.print(
        f"memory: {seen.memory / 2**20:.1f} MiB of parameters, gradients, moments and data, without activations"
    )
    per_step = 1e3 * seen.seconds_per_step
    each = f"{seen.steps} steps" if seen.steps else f"{seen.tasks} tasks"
    console.print(f"time: {each} of {per_step:.1f} ms, about {seen.seconds:.0f} s, without assessments")


def _explain(what: str, request: RunRequest, folder: RunFolder, tasks: int, code: int) -> int:
    """Say what stopped a run, what is saved and how to go on; return the exit code."""
    done, kept, part = folder.last_task(), None, ""
    with suppress(ValueError):  # a damaged record is for the next process to name
        kept = kept_step(folder)
    if done < tasks and folder.load_learned(done + 1) is not None:
        part = f" and task {done + 1}, learned but not assessed,"
    elif kept is not None:
        of = "the work after them" if kept.task > tasks else f"task {kept.task}"
        part = f" and step {kept.step} of {kept.steps} of {of}"
    elif code != 2 and done < tasks:
        part = f" (task {done + 1} begins anew)"
    says = (
        f"{what}: {done} of {tasks} tasks{part} are saved in {folder.path / 'checkpoints'}; "
        f"finish with: bayeshnet run --resume {folder.path}{''.join(f' --allow {name}' for name in request.allow)}"
    )
    sys.stderr.write(says + "\n")
    with suppress(OSError):
        log_said(folder.path, says.strip())
    return code


def _logger_names(request: RunRequest, folder: RunFolder) -> Sequence[str]:
    """Return the loggers that are asked for, else those that a continued run has."""
    if request.loggers is not None:
        return request.loggers
    return () if request.resume is None else continued_loggers(folder.path)


def _open_folder(request: RunRequest) -> RunFolder:
    if request.resume is not None:
        return RunFolder(request.resume)
    folder = RunFolder(request.output or _default_folder(request))
    folder.create(request.config)
    return folder


def _default_folder(request: RunRequest) -> Path:
    """Make the first of ``runs/data-method-seedS``, ``...-2``, ``...-3`` that does not exist, and return it."""
    e = request.experiment
    split = "" if e.judge_on == "test" else f"-{e.judge_on}"
    base = Path("runs") / f"{e.data.replace(':', '.')}-{e.method}-seed{e.seed}{split}"
    base.parent.mkdir(exist_ok=True)
    for number in count(1):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    return base
