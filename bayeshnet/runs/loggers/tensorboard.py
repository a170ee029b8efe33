"""A logger of events for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from ...checks import check_path
from ...errors import MissingExtraError
from ...representation import Settings

__all__ = ["TensorBoardLogger"]


@final
class TensorBoardLogger(Settings):
    """Events for TensorBoard, which shows a curve for each number: ``tensorboard --logdir FOLDER``.

    It needs the extra ``tensorboard``. Where a run goes on, rows that an earlier process wrote after its last
    checkpoint are marked as void, and TensorBoard does not show them.

    Args:
        folder: folder of the files.

    Raises:
        MissingExtraError: by :meth:`begin`, if TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = check_path("folder", folder, "a folder for files of events")
        self._writer: Any = None

    def begin(self, step: int, settings: Mapping[str, str]) -> None:
        """Open a file of events, and write the settings as a text."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("tensorboard", "tensorboard", "logging to TensorBoard") from None
        self._writer = SummaryWriter(str(self.folder), purge_step=step)
        if not step and settings:
            rows = "\n".join(f"| {name} | {' '.join(text.split())} |" for name, text in settings.items())
            self._writer.add_text("settings", f"| name | value |\n|---|---|\n{rows}", 0)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write a row of numbers."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
