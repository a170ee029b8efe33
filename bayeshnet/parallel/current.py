"""The processes of which this one is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from ..errors import check_instance
from .processes import Alone, Processes

__all__ = ["processes", "using"]

_CURRENT: ContextVar[Processes] = ContextVar("bayeshnet_processes", default=Alone())  # noqa: B039 (it has no state)


def processes() -> Processes:
    """Return the processes that train together here; without :func:`using` this one is alone.

    Example:
        >>> processes().rank, processes().size
        (0, 1)
    """
    return _CURRENT.get()


def using(group: Processes) -> AbstractContextManager[Processes]:
    """Let training within the context share its work with other processes.

    Args:
        group: the processes; ``Alone()`` for work that one of them does by itself.
    """
    return _using(check_instance("group", group, Processes, "Processes, such as those of launched()"))


@contextmanager
def _using(group: Processes) -> Iterator[Processes]:
    token = _CURRENT.set(group)
    try:
        yield group
    finally:
        _CURRENT.reset(token)
