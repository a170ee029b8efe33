"""Representations that show settings: the arguments of a constructor, read back from attributes of the same names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from html import escape
from typing import Any, TypeVar, cast

from torch import Tensor, nn

__all__ = ["ModuleSettings", "Settings", "flat_settings", "html_table", "settings_of", "shows_arguments"]

_WIDTH, _VALUE_WIDTH = 100, 60
_FEW = 16
_NO_SETTINGS = {"validate_args"}

Init = TypeVar("Init", bound=Callable[..., None])


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


def shows_arguments(init: Init) -> Init:
    """Decorate a constructor of many arguments, so that those which are not at their defaults can be shown.

    Their text is kept as ``_arguments``, for :meth:`~torch.nn.Module.extra_repr`, and their values as ``_given``, with
    ``...`` for those that hold tensors. ``verbose`` is left out.

    Example:
        >>> class Sum(nn.Module):
        ...     @shows_arguments
        ...     def __init__(self, size: int, exact: bool = True, verbose: bool = True) -> None:
        ...         super().__init__()
        >>> Sum(3, verbose=False)._arguments
        'size=3'
    """
    signature = inspect.signature(init)

    @wraps(init)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        shown, given = [], {}
        for name, value in list(signature.bind(self, *args, **kwargs).arguments.items())[1:]:
            parameter = signature.parameters[name]
            named = value if parameter.kind is parameter.VAR_KEYWORD else {name: value}
            for key, v in named.items():
                if key != "verbose" and not (v is parameter.default or _equal(v, parameter.default)):
                    shown.append(f"{key}={_shorten(_show(v))}")
                    given[key] = ... if _holds_tensors(v) else v
        self._arguments, self._given = ", ".join(shown), given

    return cast(Init, recorded)


def html_table(rows: Mapping[str, str]) -> str:
    """Return a table of names and values in HTML, for notebooks.

    Example:
        >>> html_table({"a<b": "1"})
        '<table><tr><th>a&lt;b</th><td>1</td></tr></table>'
    """
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(entry) for entry in value)
    if isinstance(value, dict):
        return any(_holds_tensors(entry) for entry in value.values())
    return isinstance(value, Tensor) or (isinstance(value, nn.Module) and bool(value.state_dict()))


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, nn.Module) and value == default


def _shorten(text: str) -> str:
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 3]}..."


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
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or name in {*found, *_NO_SETTINGS}:
                continue
            for attribute in (name, f"_{name}"):
                if hasattr(thing, attribute) and not _is_method(thing, getattr(thing, attribute)):
                    found[name] = getattr(thing, attribute)
                    break
        if not handed_on:
            break
    return found


def _is_method(thing: Any, value: Any) -> bool:
    """Return whether an attribute is a method of ``thing``, which only has the name of a setting."""
    return inspect.ismethod(value) and value.__self__ is thing


def flat_settings(thing: Any, name: str = "") -> dict[str, str]:
    """Return all settings of ``thing`` as text, those of its parts under names with dots.

    Modules are shown with the numbers in them, such as the noise of a likelihood, where they are few.

    Example:
        >>> class Sum(Settings):
        ...     def __init__(self, size: int, part: Settings | None = None) -> None:
        ...         self.size, self.part = size, part
        >>> flat_settings(Sum(3, Sum(4)), "sum")
        {'sum': 'Sum', 'sum.size': '3', 'sum.part': 'Sum', 'sum.part.size': '4', 'sum.part.part': 'None'}
    """
    if isinstance(thing, nn.Module):
        numbers = {key: value.tolist() for key, value in thing.state_dict().items() if value.numel() <= _FEW}
        return {name: " ".join(f"{thing!r} {numbers or ''}".split())}
    if not isinstance(thing, Settings) and (isinstance(thing, type) or not is_dataclass(thing)):
        return {name: _show(thing)}
    flat = {name: type(thing).__name__}
    for key, value in settings_of(thing).items():
        flat.update(flat_settings(value, f"{name}.{key}"))
    return flat


def _show(value: Any) -> str:
    """Show one value: tensors by shape, modules and functions by name, other objects by their ``repr``.

    Dataclasses are shown by their fields, those that have a number of elements by that alone.
    """
    if type(value) in (list, tuple) and any(isinstance(v, (Tensor, nn.Module)) for v in value):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, Tensor):
        return repr(value.item()) if value.numel() == 1 else f"tensor{tuple(value.shape)}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if inspect.isroutine(value) or inspect.isclass(value):
        return getattr(value, "__qualname__", repr(value))
    if is_dataclass(value) and not isinstance(value, Settings):
        size = getattr(value, "numel", None)
        shown = {"numel": size} if isinstance(size, int) else {f.name: getattr(value, f.name) for f in fields(value)}
        return f"{type(value).__name__}({', '.join(f'{name}={_show(v)}' for name, v in shown.items())})"
    return type(value).__name__ if vars(object)["__repr__"] is type(value).__repr__ else repr(value)
