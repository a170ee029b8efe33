"""Classes that a text may name: the library's own, the layers of torch, and those of modules that the user allows."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module

from torch import nn

from .errors import type_error, value_error

__all__ = ["check_allowed_modules", "check_class_path", "find_class"]

_LIBRARY = __name__.partition(".")[0]
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_LONGEST = 200


def check_allowed_modules(allow: Sequence[str]) -> tuple[str, ...]:
    """Return the names of modules that a user allows, as a tuple.

    Raises:
        TypeError: if ``allow`` is a single string.
        ValueError: if an entry is not the dotted name of a module.

    Example:
        >>> check_allowed_modules(["my_package", "others.layers"])
        ('my_package', 'others.layers')
    """
    if isinstance(allow, str) or not isinstance(allow, Sequence):
        raise type_error("allow", expected="a list of names of modules", got=allow)
    for name in allow:
        if not isinstance(name, str) or len(name) > _LONGEST or not _MODULE.fullmatch(name):
            raise value_error("allow", expected="the dotted name of a module, such as my_package.layers", got=name)
    return tuple(allow)


def check_class_path(path: str, allow: Sequence[str] = ()) -> None:
    """Refuse the dotted path of a class that a text may not name; nothing is imported.

    Paths below the library itself pass (whether they name one of its public classes is for :func:`find_class`, and
    importing the library's own modules does nothing). So do the layers of ``torch.nn``, and paths below a module of
    ``allow``.

    Args:
        path: dotted path, ``bayeshnet.builders.MLPNetwork``.
        allow: names of modules that the user trusts; each stands for all below it.

    Raises:
        ValueError: if the path is of another module, or not a dotted path.

    Example:
        >>> check_class_path("bayeshnet.builders.MLPNetwork")
        >>> check_class_path("subprocess.Popen")
        Traceback (most recent call last):
        ValueError: class_path: expected a class of the library or a layer of torch.nn, got 'subprocess.Popen'. If you \
trust the module, allow it with --allow subprocess.
    """
    _origin(path, check_allowed_modules(allow))


def find_class(path: str, allow: Sequence[str] = (), *, base: type = object) -> type:
    """Return the class of a dotted path if a text may name it; the path is checked before anything is imported.

    A class may be named if it is public in the library, is a layer of ``torch.nn``, or is defined in a module of
    ``allow``. Functions, modules, and classes that a module has merely imported from elsewhere are refused.

    Args:
        path: dotted path of a class.
        allow: names of modules that the user trusts; each stands for all below it.
        base: class of which it must be a subclass.

    Raises:
        ValueError: if it may not be named, does not exist, or is not a subclass of ``base``.

    Example:
        >>> find_class("torch.nn.modules.activation.ReLU")
        <class 'torch.nn.modules.activation.ReLU'>
        >>> find_class("bayeshnet.builders.MLPNetwork").__module__
        'bayeshnet.builders.networks'
        >>> find_class("bayeshnet.allowed.sys")
        Traceback (most recent call last):
        ValueError: class_path: expected a public class of the library, got 'bayeshnet.allowed.sys'.
    """
    allowed = check_allowed_modules(allow)
    layer = _origin(path, allowed)
    found = layer or _load(path)
    own = isinstance(path, str) and path.startswith(f"{_LIBRARY}.")
    known = isinstance(found, type) and (
        layer is not None or (own and _is_public(found)) or _is_below(found.__module__, allowed)
    )
    if not known or not isinstance(found, type):
        expected = "a public class of the library" if own else "a class that is defined in an allowed module"
        raise value_error("class_path", expected=expected, got=path)
    if not issubclass(found, base):
        raise value_error("class_path", expected=f"a subclass of {base.__name__}", got=path)
    return found


def _origin(path: str, allowed: tuple[str, ...]) -> type | None:
    """Return the class if ``path`` is a layer of torch, None if it may be imported, and refuse it otherwise."""
    if not isinstance(path, str) or len(path) > _LONGEST or not _PATH.fullmatch(path):
        raise value_error("class_path", expected="the dotted path of a class", got=path)
    if _is_below(path, allowed):
        return None
    parts = path.split(".")
    if parts[0] == _LIBRARY and not any(part.startswith("_") for part in parts):
        return None
    layer = _layer(path)
    if layer is None:
        module = path.rpartition(".")[0]
        raise value_error(
            "class_path",
            expected="a class of the library or a layer of torch.nn",
            got=path,
            hint=f"If you trust the module, allow it with --allow {module}.",
        )
    return layer


def _layer(path: str) -> type | None:
    """Return the layer of torch of that path, by the names that torch itself exports; None if there is none."""
    name = path.rpartition(".")[2]
    found = getattr(nn, name) if name in nn.modules.__all__ else None
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        return None
    return found if path in (f"torch.nn.{name}", f"torch.nn.modules.{name}", f"{found.__module__}.{name}") else None


def _load(path: str) -> object:
    """Return what a checked path names, or None."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError as error:
        raise value_error(
            "class_path", expected="a class of a module that can be imported", got=path, hint=f"{error}."
        ) from error


def _is_public(found: type) -> bool:
    """Return whether the class is listed by the module of the library that defines it."""
    home = sys.modules.get(found.__module__)
    return found.__module__.startswith(f"{_LIBRARY}.") and found.__name__ in getattr(home, "__all__", ())


def _is_below(path: str, modules: Sequence[str]) -> bool:
    """Return whether ``path`` is one of the modules or below one."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
