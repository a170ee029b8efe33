"""Signals that wait for the end of a step, so that what a step changes is changed as a whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

__all__ = ["DeferredSignals", "deferred_signals"]

_Handler = Callable[[int, Any], Any]


@final
class DeferredSignals:
    """The signal that waits, if one has come; a second one does not wait."""

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._waiting: tuple[int, Any] | None = None

    @property
    def have_come(self) -> bool:
        """True if a signal waits."""
        return self._waiting is not None

    def watch(self, number: int, handler: _Handler) -> None:
        """Receive the signals of a number in place of their handler."""
        self._handlers[number] = handler
        signal.signal(number, self.receive)

    def receive(self, number: int, frame: Any) -> None:
        """Let the first signal wait, and pass a second one to its handler at once."""
        if self._waiting is not None:
            self._handlers[number](number, frame)
        self._waiting = (number, frame)

    def release(self) -> None:
        """Pass the signal that waits to its handler, which raises as a rule."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._handlers[waiting[0]](*waiting)

    def restore(self) -> None:
        """Give the signals back to their handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


@contextmanager
def deferred_signals() -> Iterator[DeferredSignals]:
    """Let SIGINT and SIGTERM wait inside the context, where Python functions handle them.

    Outside the main thread, which alone receives signals, nothing is changed. A signal that still waits at the end is
    passed on there.
    """
    signals = DeferredSignals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                signals.watch(number, handler)
        yield signals
    finally:
        signals.restore()
    signals.release()
