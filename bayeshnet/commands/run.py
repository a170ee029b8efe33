"""``bayeshnet run``: learn a stream, show the results, write a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..reports import run_tables
from ..runs.execution import run_experiment
from ..runs.folder import RunFolder
from .display import Display, make_console
from .parser import RunRequest, parse_run

__all__ = ["main"]


def main(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    begin = time.perf_counter()
    request = parse_run(words)
    stream = request.experiment.stream()
    folder = _open_folder(request)
    console = make_console()
    console.print(
        f"[bold]{request.experiment.method}[/bold] on [bold]{request.experiment.data}[/bold], "
        f"seed {request.experiment.seed} -> {folder.path}"
    )
    try:
        with Display(console) as display:
            result = run_experiment(request.experiment, folder, display, stream=stream).result
    except KeyboardInterrupt:
        done = folder.last_task()
        sys.stderr.write(
            f"\ninterrupted: {done} of {len(stream)} tasks are saved in {folder.path / 'checkpoints'}; "
            f"finish with: bayeshnet run --resume {folder.path}\n"
        )
        return 130
    for table in run_tables(result) if result is not None else ():
        console.print(table.rich())
    console.print(
        f"{time.perf_counter() - begin:.1f} s in all; metrics, checkpoints, figures and report.html in {folder.path}"
    )
    return 0


def _open_folder(request: RunRequest) -> RunFolder:
    if request.resume is not None:
        return RunFolder(request.resume)
    folder = RunFolder(request.output or _default_folder(request))
    folder.create(request.config)
    return folder


def _default_folder(request: RunRequest) -> Path:
    """Return the first of ``runs/data-method-seedS``, ``...-2``, ``...-3`` that does not exist."""
    e = request.experiment
    split = "" if e.judge_on == "test" else f"-{e.judge_on}"
    base = Path("runs") / f"{e.data}-{e.method}-seed{e.seed}{split}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path
