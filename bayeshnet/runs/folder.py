"""The folder of a run: configuration, checkpoints after each task, metrics; all files are written atomically."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..checks import check_path
from ..errors import value_error
from ..files import (
    Manifest,
    check_file,
    check_no_links,
    is_transient,
    listing,
    lock_folder,
    read_manifest,
    read_text,
    remove_temporaries,
    write_manifest,
    write_text,
)
from ..representation import Settings
from ..saving import load_checkpoint, save_checkpoint
from ..tasks import TaskStream
from .fingerprints import (
    changed_tasks,
    configuration_fingerprint,
    data_fingerprints,
    matches_configuration,
    reads_files,
)

__all__ = ["RunFolder"]

_CONFIG = "config"
_CONFIGURATION = "configuration"
_COPY = "checkpoints/config.yaml"
_CHECKPOINTS = (
    _COPY,
    "checkpoints/task-*.json",
    "checkpoints/task-*.safetensors",
    "checkpoints/finished.*",
    "checkpoints/learned.*",
    "checkpoints/step.*",
)
_RESULTS = ("metrics.json", "report.html", "figures/*.png")
_STEM = re.compile(r"^checkpoints/task-(\d{1,9})\.json$")
_log = logging.getLogger(__name__)


class RunFolder(Settings):
    """The files of a run.

    ``config.yaml``, ``checkpoints/task-NN.{safetensors,json}``, ``metrics.json``, ``figures/``, ``report.html``, and
    what the run said in ``log.txt``; ``checkpoints/finished.*`` if the learner does something after the last task,
    ``learned.*`` if a task was learned but could not be assessed, ``step.*`` if a task was stopped at a step.
    ``manifest.json`` lists the checksums of all but the log and the configuration, of which it has a fingerprint, as
    of the data; ``checkpoints/config.yaml`` is a copy of the configuration with which the run was begun. Folders of
    earlier versions lack these two. They are read as they are, and get them when they are written to. While a process
    writes, ``lock.json`` says which.

    Args:
        path: path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_path("path", path, "the path of a folder")
        self._is_locked = False
        self._begun: str | None = None

    @property
    def config(self) -> Path:
        """Path of the configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Path of the results."""
        return self.path / "metrics.json"

    @property
    def figures(self) -> Path:
        """Path of the folder of figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """Path of the self-contained page of results."""
        return self.path / "report.html"

    def create(self, config: str) -> None:
        """Create the folder with its configuration; an existing folder is refused unless it is empty.

        Of several processes that create one folder at once, one succeeds. A folder counts as empty if a process was
        killed in it before it had written the configuration.
        """
        is_new = not os.path.lexists(self.path)
        if not is_new and not self._is_empty():
            raise self._taken()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with self.locked():
                if not self._is_empty():
                    raise self._taken()
                write_text(self.config, config)
                self._begun = config
                self._adopt()
        except OSError:
            with suppress(OSError):
                if is_new:
                    self.path.rmdir()  # if nothing was written
            raise

    def open(self) -> str:
        """Return the configuration of an existing run; while it is locked, as it was when it was locked.

        Raises:
            ValueError: if there is none, or it is not a text of ordinary size.
        """
        if self._begun is not None:
            return self._begun
        if not self.config.is_file():
            hint = f"It was stopped before it had one; begin it again with: --output {self.path}"
            expected = "the folder of a run, with a config.yaml"
            raise value_error("resume", expected=expected, got=str(self.path), hint=hint if self._is_empty() else "")
        return read_text(self.config)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing, and keep the configuration as it is now, inside the context.

        Temporary files of killed processes are removed. Calls may be nested.

        Raises:
            ValueError: if another process is writing; the message says which.
        """
        if self._is_locked:
            yield
            return
        check_no_links(self.path, ["checkpoints", "figures", "logs", "log.txt"])
        with lock_folder(self.path):
            remove_temporaries([self.path, self.path / "checkpoints", self.figures])
            self._begun = self.open() if self.config.is_file() else None
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked, self._begun = False, None

    def begin(self, stream: TaskStream, *, own: bool = False) -> None:
        """Check that configuration and data are those with which the run was begun; record them if it begins now.

        Data of a stream that reads no files, and is not the caller's ``own``, are made anew each time. If they differ,
        by another version of a package for instance, a warning is logged.

        Raises:
            ValueError: if they are others.
        """
        self._adopt()
        known = read_manifest(self.path) or Manifest()
        if known.fingerprints.get(_CONFIGURATION) != configuration_fingerprint(self._text()):
            raise self._changed(self.last_task())
        number = self.last_task()
        if number > len(stream):
            raise value_error("stream", expected=f"at least the {number} tasks that are saved", found=f"{len(stream)}")
        found = data_fingerprints(stream)
        changed = changed_tasks(known.fingerprints, found)
        if changed:
            error = value_error(
                "resume",
                expected="the data with which the run was begun",
                found=f"other examples in task {', '.join(map(str, changed))}",
                hint="Restore the data, or start a new run with another --output.",
            )
            if own or reads_files(stream):
                raise error
            _log.warning("%s: %s", self.path, error)
        elif not set(found) <= set(known.fingerprints):
            with listing(self.path, [], found):
                pass

    def last_task(self) -> int:
        """Return the number of tasks whose checkpoint is complete."""
        numbers = [_STEM.match(name) for name in self._listed("checkpoints/task-*.json")]
        return max((int(match.group(1)) for match in numbers if match), default=0)

    def save_task(self, number: int, state: Any, record: dict[str, Any]) -> None:
        """Save the state after ``number`` tasks, with a record of results so far."""
        self._save(f"task-{number:02d}", state, {**record, _CONFIG: configuration_fingerprint(self._text())})

    def load_task(self, number: int, state: Any = None) -> dict[str, Any]:
        """Load the state after ``number`` tasks into ``state``, if given, and return the record saved with it.

        Raises:
            ValueError: if the configuration of the run is not the one under which it was saved, or a file is damaged.
        """
        stem = f"task-{number:02d}"
        record = self._load(stem, None)
        if not matches_configuration(record.pop(_CONFIG, None), self._text()):
            raise self._changed(number)
        if state is not None:
            self._load(stem, state)
        return record

    def save_learned(self, number: int, state: Any, record: dict[str, Any], stem: str = "learned") -> None:
        """Save what was learned of task ``number``: all of it, where it could not be assessed, or a ``step`` of it."""
        self._save(stem, state, {**record, "task": number, _CONFIG: configuration_fingerprint(self._text())})

    def load_learned(self, number: int, state: Any = None, stem: str = "learned") -> dict[str, Any] | None:
        """Load what :meth:`save_learned` saved of task ``number``, if anything, and return its record."""
        record = self._load(stem, None) if self._listed(f"checkpoints/{stem}.json") else {}
        if record.get("task") != number or not matches_configuration(record.get(_CONFIG), self._text()):
            return None
        return record if state is None else self._load(stem, state)

    def is_finished(self) -> bool:
        """Return whether the learner's work after the last task is saved."""
        return bool(self._listed("checkpoints/finished.json"))

    def save_finished(self, state: Any, record: dict[str, Any]) -> None:
        """Save the state after the learner's work that follows the last task."""
        self._save("finished", state, record)

    def load_finished(self, state: Any = None) -> dict[str, Any]:
        """Load the state after the learner's last work into ``state``, if given, and return the record saved with it.

        Raises:
            ValueError: if the configuration of the run is not the one under which it was saved, or a file is damaged.
        """
        self.load_task(self.last_task())  # Checks the configuration.
        return self._load("finished", state)

    def has_results(self) -> bool:
        """Return whether ``metrics.json`` is there, as a whole."""
        return bool(self._listed("metrics.json"))

    @contextmanager
    def writing_results(self) -> Iterator[None]:
        """Let ``metrics.json``, the figures and the report be written inside the context; they count when it ends."""
        self._adopt()
        with listing(self.path, _RESULTS):
            yield

    def _save(self, stem: str, state: Any, record: dict[str, Any]) -> None:
        self._adopt()
        with listing(self.path, [f"checkpoints/{stem}.safetensors", f"checkpoints/{stem}.json"]):
            save_checkpoint(self.path / "checkpoints" / stem, state, record)

    def _load(self, stem: str, state: Any) -> dict[str, Any]:
        known = read_manifest(self.path)
        for suffix in ("json", "safetensors") if state is not None else ("json",):
            if known is not None:
                check_file(self.path, f"checkpoints/{stem}.{suffix}", known)
        return load_checkpoint(self.path / "checkpoints" / stem, state)

    def _listed(self, pattern: str) -> list[str]:
        """Return the files of that pattern that are in the folder, and in its manifest if it has one."""
        known = read_manifest(self.path)
        names = [path.relative_to(self.path).as_posix() for path in self.path.glob(pattern)]
        return [name for name in names if known is None or name in known.files]

    def _adopt(self) -> None:
        """Give the folder a manifest and a copy of the configuration, if it has none."""
        if read_manifest(self.path) is not None:
            return
        config = self._text()
        if config:
            write_text(self.path / _COPY, config)
        names = [name for pattern in (*_CHECKPOINTS, *_RESULTS) for name in self._listed(pattern)]
        write_manifest(self.path, names, {_CONFIGURATION: configuration_fingerprint(config)})

    def _is_empty(self) -> bool:
        """Return whether this is a folder with no files but those that a process killed at once leaves."""
        return self.path.is_dir() and all(is_transient(path) for path in self.path.iterdir())

    def _text(self) -> str:
        """Return the configuration, empty if there is none."""
        return self.open() if self._begun is not None or self.config.is_file() else ""

    def _changed(self, number: int) -> ValueError:
        return value_error(
            "resume",
            expected="the configuration " + (f"under which task {number} was learnt" if number else "of the run"),
            found=f"a changed {self.config}",
            hint=f"Restore it from {self.path / _COPY}, or start a new run with another --output.",
        )

    def _taken(self) -> ValueError:
        return value_error(
            "output",
            expected="a folder that does not exist yet",
            got=str(self.path),
            hint=f"Choose another --output, or continue that run with: bayeshnet run --resume {self.path}",
        )
