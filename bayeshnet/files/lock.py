"""The lock of a folder: one process at a time writes there, and the file says which."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import value_error
from .atomic import TEMPORARY

__all__ = ["LOCK", "Owner", "is_transient", "lock_folder"]

LOCK = "lock.json"
"""Name of the file that says which process writes to a folder."""

_HELD = "lock-held.json"
_MAX_BYTES = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        pid: number of the process.
        host: name of its machine.
        started: ticks after the start of the machine at which the process began, where the system tells; by it another
            process that was given the same number later is recognized.
        since: time of locking, for people.
    """

    pid: int
    host: str
    started: str
    since: str

    @classmethod
    def of_this_process(cls) -> Owner:
        """Describe this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), _started(os.getpid()), now)

    @classmethod
    def read(cls, path: Path) -> Owner | None:
        """Read a lock; None if the process was stopped before it had written all of it, or it holds something else."""
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                owner = cls(**json.loads(os.read(handle, _MAX_BYTES)))
            finally:
                os.close(handle)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = (int, str, str, str)
        values = (owner.pid, owner.host, owner.started, owner.since)
        return owner if all(isinstance(v, k) for v, k in zip(values, kinds, strict=True)) else None

    def is_gone(self) -> bool:
        """Return whether the process was on this machine and has ended."""
        if self.host != socket.gethostname() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            return False
        return _started(self.pid) != self.started

    def __str__(self) -> str:
        """Describe the process in a few words."""
        return f"process {self.pid} on {self.host[:80]!r}, since {self.since[:40]}"


def is_transient(path: Path) -> bool:
    """Return whether ``path`` has the name of a lock or of a temporary file, which a killed process may leave."""
    return path.name in (LOCK, _HELD) or path.name.startswith(TEMPORARY)


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[Path]:
    """Hold the lock of an existing folder inside the context.

    The system's lock on the file ``lock.json`` decides, which ends with its process, however it ends. Where a file
    system has none, the existence of the file decides, and a lock is taken over if its process is gone.

    Args:
        folder: path of the folder.

    Raises:
        ValueError: if another process, or another thread of this one, holds the lock; the message says which.
        OSError: if the lock cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with lock_folder(folder) as path:
        ...         Owner.read(path).pid == os.getpid()
        ...     path.exists()
        True
        False
    """
    path = Path(folder) / LOCK
    try:
        path, handle = _acquire(path)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    try:
        yield path
    finally:
        _release(path, handle)


def _acquire(path: Path) -> tuple[Path, int]:
    """Return the path of the lock and its open file, which the system keeps locked."""
    while True:
        known = Owner.read(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        granted = _lock_file(handle)
        if granted and _is_still(path, handle):
            return path, _write_owner(handle, path, known)
        os.close(handle)  # if it was granted, the last owner removed the file between the two calls
        if granted is None:
            return _acquire_by_existence(path)
        if not granted:
            raise _held(path, Owner.read(path))


def _lock_file(handle: int) -> bool | None:
    """Return whether the system grants its lock on an open file; None if it has no such locks here."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(handle))
    return False


def _acquire_by_existence(probed: Path) -> tuple[Path, int]:
    """Acquire a lock that consists in the existence of a file beside the one that the system cannot lock."""
    path = probed.with_name(_HELD)
    with suppress(OSError):
        probed.unlink()
    known = Owner.read(path)
    if known is not None and known.is_gone():
        aside = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        with suppress(FileNotFoundError):  # another process has taken it over first
            os.replace(path, aside)
            aside.unlink()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise _held(path, Owner.read(path)) from None
    return path, _write_owner(handle, path, known)


def _release(path: Path, handle: int) -> None:
    """Remove the file while it is locked, so that nobody locks a file that is about to vanish."""
    with suppress(OSError):
        path.unlink()
    os.close(handle)


def _write_owner(handle: int, path: Path, known: Owner | None) -> int:
    if known is not None:
        _log.warning("%s: taken over; %s ended without removing it", path, known)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(asdict(Owner.of_this_process())).encode())
    except BaseException:
        _release(path, handle)
        raise
    return handle


def _held(path: Path, owner: Owner | None) -> ValueError:
    who = "a process that is not named in it" if owner is None else str(owner)
    advice = f"Wait for it to end. If it is gone, remove {str(path)!r} and try again."
    return value_error(f"folder {str(path.parent)!r}", expected="one run at a time", found=who, hint=advice)


def _started(pid: int) -> str:
    """Return the time at which a process began, as the system counts it; empty where it does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return str(fields[19]) if len(fields) > 19 else ""
