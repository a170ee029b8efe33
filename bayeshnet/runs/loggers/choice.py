"""Loggers by name, as the command line knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...errors import MissingExtraError, check_choice
from .csv_files import CSVLogger
from .protocol import MetricLogger
from .tensorboard import TensorBoardLogger

__all__ = ["LOGGERS", "LoggerEntry", "check_loggers", "continued_loggers", "make_loggers"]

_FOLDER = "logs"


@dataclass(frozen=True)
class LoggerEntry:
    """A logger that has a name.

    Args:
        make: function of the folder of its files.
        files: pattern of their names.
        package: package that it needs, or None; the extra that brings it has the same name.
    """

    make: Callable[[Path], MetricLogger]
    files: str
    package: str | None = None


LOGGERS = {
    "csv": LoggerEntry(CSVLogger, "*.csv"),
    "tensorboard": LoggerEntry(TensorBoardLogger, "events.out.tfevents.*", "tensorboard"),
}


def check_loggers(names: Sequence[str]) -> list[str]:
    """Return names of loggers, each once; refuse unknown ones, and those whose package is not installed.

    Raises:
        ValueError: if a name is unknown.
        MissingExtraError: if a package is missing.
    """
    for name in names:
        package = LOGGERS[check_choice("logger", name, LOGGERS)].package
        if package is not None and find_spec(package) is None:
            raise MissingExtraError(package, package, f"the logger {name!r}")
    return list(dict.fromkeys(names))


def make_loggers(names: Sequence[str], folder: Path) -> list[MetricLogger]:
    """Make loggers that write to ``logs/`` in the folder of a run."""
    return [LOGGERS[name].make(folder / _FOLDER) for name in check_loggers(names)]


def continued_loggers(folder: Path) -> list[str]:
    """Return the names of the loggers whose files are in the folder of a run."""
    return [name for name, entry in LOGGERS.items() if any((folder / _FOLDER).glob(entry.files))]
