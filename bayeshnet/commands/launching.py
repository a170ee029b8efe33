"""Processes of ``bayeshnet run --devices N --nodes M``: the first one runs the command, the others follow it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..errors import value_error
from ..parallel import Alone, Processes, ProcessLostError, launched
from ..parallel.fabric import FabricProcesses
from ..runs.execution import run_experiment
from ..runs.experiment import resolve_device
from .parser import RunRequest
from .signals import stopped_by_signals

__all__ = ["follow_run", "processes_of"]


@contextmanager
def processes_of(request: RunRequest) -> Iterator[tuple[Processes, RunRequest]]:
    """Start the processes that are asked for, or those of a launcher, and put the run on the device of this one."""
    devices = request.devices or int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = request.nodes or int(os.environ.get("GROUP_WORLD_SIZE", 1))
    if devices * nodes == 1:
        yield Alone(), request
        return
    wanted = resolve_device(request.experiment.device)
    if wanted.type not in ("cpu", "cuda") or wanted.index is not None:
        raise value_error("device", expected="'auto', 'cpu' or 'cuda' with several processes", got=str(wanted))
    with launched(devices, nodes, device=wanted.type, share=request.share) as group:
        device = str(group.device) if isinstance(group, FabricProcesses) else str(wanted)
        yield group, replace(request, experiment=replace(request.experiment, device=device))


def follow_run(request: RunRequest, group: Processes) -> int:
    """Learn with the first process, which shows and writes; return the exit code.

    Where the first process has been killed, the second one says so, as there is no other to do it.
    """
    parent = os.getppid()
    try:
        group.tell(None)  # the first one has its data: what is wrong with them is said once
        with stopped_by_signals():
            run_experiment(request.experiment, None, stream=request.stream())
    except ProcessLostError:
        if group.rank == 1 and os.getppid() != parent:
            sys.stderr.write("bayeshnet run: the first process has ended; finish with: bayeshnet run --resume FOLDER\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
