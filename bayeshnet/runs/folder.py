"""The folder of a run: configuration, checkpoints after each task, metrics; all files are written atomically."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from ..checks import check_path
from ..errors import value_error
from ..files import write_text
from ..inference import load_checkpoint, save_checkpoint
from ..representation import Settings

__all__ = ["RunFolder"]

_CONFIG = "config"
_STEM = re.compile(r"^task-(\d+)\.json$")


class RunFolder(Settings):
    """The files of a run.

    ``config.yaml``, ``checkpoints/task-NN.{safetensors,json}``, ``metrics.json``, ``figures/`` and ``report.html``;
    ``checkpoints/finished.{safetensors,json}`` if the learner does something after the last task.

    Args:
        path: path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_path("path", path, "the path of a folder")

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
        """Create the folder with its configuration; an existing folder is refused unless it is empty."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise value_error(
                "output",
                expected="a folder that does not exist yet",
                got=str(self.path),
                hint=f"Choose another --output, or continue that run with: bayeshnet run --resume {self.path}",
            )
        write_text(self.config, config)

    def open(self) -> str:
        """Return the configuration of an existing run."""
        if not self.config.is_file():
            raise value_error("resume", expected="the folder of a run, with a config.yaml", got=str(self.path))
        return self.config.read_text(encoding="utf-8")

    def last_task(self) -> int:
        """Return the number of tasks whose checkpoint is complete."""
        folder = self.path / "checkpoints"
        found = [_STEM.match(p.name) for p in folder.glob("task-*.json")] if folder.is_dir() else []
        return max((int(m.group(1)) for m in found if m), default=0)

    def save_task(self, number: int, state: Any, record: dict[str, Any]) -> None:
        """Save the state after ``number`` tasks, with a record of results so far."""
        (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        save_checkpoint(self._stem(number), state, {**record, _CONFIG: self._fingerprint()})

    def load_task(self, number: int, state: Any = None) -> dict[str, Any]:
        """Load the state after ``number`` tasks into ``state``, if given, and return the record saved with it.

        Raises:
            ValueError: if the configuration of the run is not the one under which it was saved, or a file is damaged.
        """
        record = load_checkpoint(self._stem(number))
        if record.pop(_CONFIG, None) != self._fingerprint():
            raise value_error(
                "resume",
                expected=f"the configuration under which task {number} was learnt",
                found=f"a changed {self.config}",
                hint="Restore it, or start a new run with another --output.",
            )
        if state is not None:
            load_checkpoint(self._stem(number), state)
        return record

    def is_finished(self) -> bool:
        """Return whether the learner's work after the last task is saved."""
        return self._finished.with_suffix(".json").is_file()

    def save_finished(self, state: Any, record: dict[str, Any]) -> None:
        """Save the state after the learner's work that follows the last task."""
        save_checkpoint(self._finished, state, record)

    def load_finished(self, state: Any = None) -> dict[str, Any]:
        """Load the state after the learner's last work into ``state``, if given, and return the record saved with it.

        Raises:
            ValueError: if the configuration of the run is not the one under which it was saved, or a file is damaged.
        """
        self.load_task(self.last_task())  # Checks the configuration.
        return load_checkpoint(self._finished, state)

    @property
    def _finished(self) -> Path:
        return self.path / "checkpoints" / "finished"

    def _fingerprint(self) -> str:
        """Compute a digest of the configuration."""
        return hashlib.blake2b(self.config.read_bytes() if self.config.is_file() else b"", digest_size=16).hexdigest()

    def _stem(self, number: int) -> Path:
        return self.path / "checkpoints" / f"task-{number:02d}"
