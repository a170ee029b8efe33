"""The callback interface of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..inference import Callback
from ..tasks import TaskStream
from .results.records import Assessment

__all__ = ["Listener"]


class Listener(Protocol):
    """Callback interface for the progress of a run; a subclass that lacks a method ignores its event."""

    def callbacks(self, number: int, stream: TaskStream) -> Sequence[Callback]:
        """Return callbacks for the training of task ``number``."""
        return ()

    def task_done(self, number: int, stream: TaskStream, record: Assessment) -> None:
        """Handle that task ``number`` has been learned and assessed."""

    def stream_done(self, stream: TaskStream) -> None:
        """Handle that all tasks have been learned; the results are computed and written next."""
