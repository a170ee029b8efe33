"""Streams of one's own, which are named by the module and the function that builds them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import value_error

__all__ = ["find_builder", "is_own", "split_name"]

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)
_LONGEST = 200


def is_own(name: Any) -> bool:
    """Return whether a name stands for a stream of one's own; what is no text does not.

    Example:
        >>> is_own("my_data:birds"), is_own("split-digits")
        (True, False)
    """
    return isinstance(name, str) and ":" in name


def split_name(name: str) -> tuple[str, str]:
    """Return the module and the function of a name; nothing is imported.

    Raises:
        ValueError: if the name is not of that form.

    Example:
        >>> split_name("my_data.images:birds")
        ('my_data.images', 'birds')
    """
    match = _NAME.fullmatch(name) if len(name) <= _LONGEST else None
    if match is None:
        raise value_error("data", expected="module:function, such as my_data:birds", got=name)
    return match.group(1), match.group(2)


def find_builder(name: str) -> Callable[..., Any]:
    """Import the module and return the function.

    The module is one that can be imported, or else a file of its name in the current folder, which is not put on
    Python's path: the file can import what is installed, not its neighbors.

    Raises:
        ValueError: if there is no such module, or no such function in it.
    """
    module, function = split_name(name)
    found = getattr(_module(module, name), function, None)
    if not callable(found):
        raise value_error("data", expected=f"a function of the module {module}", got=function)
    builder: Callable[..., Any] = found
    return builder


def _module(module: str, name: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        path = Path(*module.split(".")).with_suffix(".py")
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something else
        spec = spec_from_file_location(module, path.resolve()) if path.is_file() else None
        if spec is None or spec.loader is None:
            hint = f"It is neither installed nor a file {path} in the current folder."
            raise value_error("data", expected="a module that can be imported", got=name, hint=hint) from error
        made = module_from_spec(spec)
        sys.modules[module] = made
        try:
            spec.loader.exec_module(made)
        except BaseException:
            del sys.modules[module]
            raise
        return made
