"""Appending to a text file of lines, which a killed process leaves whole but for its last line."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["append_text"]


def append_text(path: str | Path, text: str) -> None:
    """Append ``text`` in UTF-8 to a file, by one call of the system where that takes it all.

    Args:
        path: path of a file, which is made if there is none; a link, a pipe or a device is refused.
        text: whole lines.

    Raises:
        OSError: if the file cannot be written; the error names ``path``.
    """
    rest = memoryview(text.encode("utf-8"))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)  # a pipe without a reader is not waited for
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            while rest:
                rest = rest[os.write(handle, rest) :]
        finally:
            os.close(handle)
    except OSError as error:
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
