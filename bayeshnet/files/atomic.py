"""Atomic writing of files: whatever happens, a file has its old or its new content, never a part."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

__all__ = ["TEMPORARY", "remove_temporaries", "write_bytes", "write_text"]

TEMPORARY = ".bayeshnet-temporary-"
"""Beginning of the names of temporary files."""


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write ``content`` to a temporary file, flush it to the disk and move it to ``path`` in one step.

    The file has the permissions that the umask leaves to a new file.

    Args:
        path: path of the file; its folder is created if necessary.
        content: the whole content.

    Returns:
        The path.

    Raises:
        OSError: if the file cannot be written; the error names ``path``. An older file there is left as it was, and no
            temporary file remains.
    """
    path = Path(path)
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_new(temporary, content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` in UTF-8, as :func:`write_bytes` does."""
    return write_bytes(path, text.encode("utf-8"))


def remove_temporaries(folders: Iterable[str | Path]) -> list[Path]:
    """Remove what killed processes left of :func:`write_bytes` in ``folders``, and return the paths removed.

    Only files with the names of its temporary files are removed. No process may be writing there.
    """
    removed = []
    for folder in map(Path, folders):
        for path in sorted(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else ():
            if path.is_file() or path.is_symlink():
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o666)  # the system takes off what the umask forbids
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
