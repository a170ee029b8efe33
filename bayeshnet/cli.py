"""The command line: ``bayeshnet run | compare | sweep | list | completion``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module

from . import __version__

__all__ = ["main"]

_INTERRUPTED = "bayeshnet {}: interrupted\n"
_COMMANDS = {
    "run": "learn a stream of tasks and write a folder with metrics, checkpoints, figures and a report",
    "compare": "tables of several runs, with mean and standard deviation over seeds",
    "sweep": "try settings of a learner, judged on validation examples, and write the best configuration",
    "list": "streams, methods and estimators by name",
    "completion": "print a script by which bash or zsh completes commands, options and names",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for a usage error, 130 when interrupted."""
    parser = argparse.ArgumentParser("bayeshnet", description="Hypernetworks as Bayesian posteriors over weights.")
    parser.add_argument("--version", action="version", version=f"bayeshnet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    arguments, rest = parser.parse_known_args(list(sys.argv[1:] if argv is None else argv)[:1])
    words = list(sys.argv[1:] if argv is None else argv)[1:] + rest
    try:
        with _ended_by_interrupts(arguments.command) if argv is None else nullcontext():
            command = import_module(f".commands.{arguments.command}", __package__)
        return int(command.main(words))
    except KeyboardInterrupt:
        sys.stderr.write(_INTERRUPTED.format(arguments.command))
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        if isinstance(error, ImportError) and not isinstance(error, _missing_extra()):
            raise
        sys.stderr.write(f"bayeshnet {arguments.command}: {' '.join(str(error).split())}\n")
        return 2


def _missing_extra() -> type[ImportError]:
    """Return the class of errors of missing extras; importing it takes a second, that of torch."""
    from .errors import MissingExtraError

    return MissingExtraError


@contextmanager
def _ended_by_interrupts(command: str) -> Iterator[None]:
    """End the process at once by Ctrl-C while modules are imported, in which an exception might be lost."""

    def end(number: int, frame: object) -> None:
        os.write(2, _INTERRUPTED.format(command).encode())
        os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # as where a shell ignores it for background jobs
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
