"""The command line: ``bayeshnet run | compare | list``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from . import __version__
from .errors import MissingExtraError

__all__ = ["main"]

_COMMANDS = {
    "run": "learn a stream of tasks and write a folder with metrics, checkpoints, figures and a report",
    "compare": "tables of several runs, with mean and standard deviation over seeds",
    "list": "streams, methods and estimators by name",
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
        return int(import_module(f".commands.{arguments.command}", __package__).main(words))
    except KeyboardInterrupt:
        sys.stderr.write(f"bayeshnet {arguments.command}: interrupted\n")
        return 130
    except (ValueError, TypeError, OSError, MissingExtraError) as error:
        sys.stderr.write(f"bayeshnet {arguments.command}: {' '.join(str(error).split())}\n")
        return 2
