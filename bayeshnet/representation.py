"""Representations that show settings: the arguments of a constructor, read back from attributes of the same names."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

__all__ = ["ModuleSettings", "Settings", "settings_of"]

_WIDTH = 100


class Settings:
    """A mixin whose ``repr`` shows the settings of an object.

    It keeps the rule that an attribute is called like the argument of the constructor that sets it.

    Example:
        >>> class Sum(Settings):
        ...     def __init__(self, size: int, *, exact: bool = True) -> None:
        ...         self.size, self.exact = size, exact
        >>> Sum(3)
        Sum(size=3, exact=True)
    """

    def __repr__(self) -> str:
        """Show the class and its settings, over several lines if they are long."""
        parts = [f"{name}={_show(value)}" for name, value in settings_of(self).items()]
        line = f"{type(self).__name__}({', '.join(parts)})"
        if len(line) <= _WIDTH and "\n" not in line:
            return line
        inner = "".join(f"    {part},\n".replace("\n", "\n    ").removesuffix("    ") for part in parts)
        return f"{type(self).__name__}(\n{inner})"


class ModuleSettings:
    """A mixin for modules: settings that are not modules are shown beside torch's list of submodules."""

    def extra_repr(self) -> str:
        """Show the settings."""
        values = settings_of(self).items()
        return ", ".join(f"{name}={_show(value)}" for name, value in values if not isinstance(value, nn.Module))


def settings_of(thing: Any) -> dict[str, Any]:
    """Return the settings of ``thing``: arguments of its constructor that are attributes, under their names.

    Arguments that a constructor hands on as ``**settings`` are those of the next class. An argument ``x`` may be kept
    as ``x`` or ``_x``.
    """
    found: dict[str, Any] = {}
    for cls in type(thing).__mro__:
        if "__init__" not in vars(cls):
            continue
        handed_on = False
        init = vars(cls)["__init__"]
        for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
            handed_on |= parameter.kind is parameter.VAR_KEYWORD
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name in found:
                continue
            for attribute in (name, f"_{name}"):
                if hasattr(thing, attribute):
                    found[name] = getattr(thing, attribute)
                    break
        if not handed_on:
            break
    return found


def _show(value: Any) -> str:
    """Show one value: tensors by shape, modules and functions by name, other objects by their ``repr``."""
    if isinstance(value, Tensor):
        return repr(value.item()) if value.numel() == 1 else f"tensor{tuple(value.shape)}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if inspect.isroutine(value) or inspect.isclass(value):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)
