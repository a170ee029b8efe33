"""Reading of texts and JSON that may come from anyone: bounded in size and depth, plain values only."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import value_error

__all__ = ["JSON_LIMIT", "TEXT_LIMIT", "parse_json", "read_bytes", "read_json", "read_text"]

JSON_LIMIT = 2**25
"""Largest size of a JSON file in bytes."""
TEXT_LIMIT = 2**16
"""Largest size of another text in bytes."""

_DEPTH = 32
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?+', re.DOTALL)
_ROUND = bytes.maketrans(b"[{]}", b"(())")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: str | Path, limit: int) -> bytes:
    """Read a file of at most ``limit`` bytes; what is not an ordinary file (a pipe, a device) is not waited for.

    Raises:
        FileNotFoundError: if it does not exist.
        OSError: if it cannot be opened or read.
        ValueError: if it is no ordinary file, or larger.
    """
    name = f"file {str(path)!r}"
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            plain = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = _read(file, limit + 1) if plain else b""
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: expected a file, got none of that name.") from None
    except IsADirectoryError:
        plain, content = False, b""
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise OSError(f"{name}: expected a file that can be read, got: {cause}.") from error
    if not plain:
        raise value_error(name, expected="an ordinary file", found="a folder, a pipe or a device")
    if len(content) > limit:
        raise value_error(name, expected=f"at most {limit} bytes", found="more")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(file: Any, count: int) -> bytes:
    """Read up to ``count`` bytes."""
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_text(path: str | Path, limit: int = TEXT_LIMIT) -> str:
    """Read a text in UTF-8 of at most ``limit`` bytes.

    Raises:
        FileNotFoundError: if it does not exist.
        OSError: if it cannot be opened or read.
        ValueError: if it is no ordinary file, larger, or not in UTF-8. The message names the file.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"bytes that cannot be read at position {error.start}"
        raise value_error(f"file {str(path)!r}", expected="text in UTF-8", found=found) from error


def read_json(path: str | Path, limit: int = JSON_LIMIT) -> Any:
    """Read a JSON file, as :func:`read_text` and :func:`parse_json` do."""
    return parse_json(read_text(path, limit), f"file {str(path)!r}")


def parse_json(text: str, what: str = "text") -> Any:
    """Parse JSON: finite numbers, no key twice, brackets at most 32 deep.

    Args:
        text: the text.
        what: description of the text for messages.

    Raises:
        ValueError: if it is not JSON of this kind.

    Example:
        >>> parse_json('{"a": [1, 2.5, null]}')
        {'a': [1, 2.5, None]}
        >>> parse_json('{"a": NaN}', "file 'x.json'")
        Traceback (most recent call last):
        ValueError: file 'x.json': expected JSON, got the number NaN.
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ValueError: text: expected JSON, got brackets more than 32 deep.
    """
    try:
        _check_depth(text)
        value = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_unique)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise value_error(what, expected="JSON", found="half of a surrogate pair") from error
    except ValueError as error:
        raise value_error(what, expected="JSON", found=" ".join(str(error).split())) from error
    return value


def _check_depth(text: str) -> None:
    """Refuse brackets that are too deep; those inside strings do not count."""
    others = bytes(set(range(256)) - set(b"[]{}"))
    left = _STRING.sub("", text).encode("utf-8", "replace").translate(_ROUND, others)
    for _ in range(_DEPTH):  # Each time, the innermost pairs go.
        left = left.replace(b"()", b"")
    if b"()" in left or left.count(b"(") > _DEPTH:
        raise ValueError(f"brackets more than {_DEPTH} deep")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} twice")
    return known
