"""Names that become part of a file's name, and texts that are shown: they stay in their folder and on their line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import type_error, value_error

__all__ = ["check_file_name", "check_line", "check_no_links"]

_SEPARATORS = '/\\:*?"<>|'
_LONGEST = 100


def check_file_name(argument: str, name: str) -> str:
    r"""Return ``name`` if it can be part of the name of a file in a folder of the caller's choice.

    It has 1 to 100 printable characters, none of ``/ \ : * ? " < > |``, and begins with no dot and no space.

    Raises:
        TypeError: if it is no text.
        ValueError: if it is no such name.

    Example:
        >>> check_file_name("method", "posterior-replay (beta 0.1)")
        'posterior-replay (beta 0.1)'
        >>> check_file_name("method", "../../outside")
        Traceback (most recent call last):
        ValueError: method: expected a name without path separators, at most 100 characters, got '../../outside'.
    """
    check_line(argument, name)
    if not 0 < len(name) <= _LONGEST or name[0] in ". " or any(character in _SEPARATORS for character in name):
        raise value_error(argument, expected=f"a name without path separators, at most {_LONGEST} characters", got=name)
    return name


def check_line(argument: str, text: str) -> str:
    r"""Return ``text`` if it has printable characters only: no line breaks, and nothing that a terminal would obey.

    Example:
        >>> check_line("method", "red \x1b[31m")
        Traceback (most recent call last):
        ValueError: method: expected text of printable characters, got 'red \x1b[31m'.
    """
    if not isinstance(text, str):
        raise type_error(argument, expected="text", got=text)
    if not text.isprintable():
        raise value_error(argument, expected="text of printable characters", got=text)
    return text


def check_no_links(folder: Path, names: Sequence[str]) -> None:
    """Refuse links among the folders and files ``names`` in ``folder``: what is written to them would land elsewhere.

    Raises:
        ValueError: if one of them is a link.
    """
    for name in names:
        if (folder / name).is_symlink():
            advice = "Put the files themselves there."
            kind = "file" if Path(name).suffix else "folder"
            raise value_error(f"{kind} {str(folder / name)!r}", expected=f"a {kind}", found="a link", hint=advice)
