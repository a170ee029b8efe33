"""Signals that end a command as Ctrl-C does: what is locked is released, and what is saved is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, final

__all__ = ["Terminated", "stopped_by_signals"]


@final
class Terminated(KeyboardInterrupt):
    """The process was asked to end."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`Terminated` inside the context when the process is asked to end (SIGTERM).

    Outside the main thread, which alone receives signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _raise(number: int, frame: object) -> NoReturn:
    raise Terminated
