"""Named configurations: a YAML file per stream and one per method, shipped with the package, merged into one."""

from __future__ import annotations

import copy
from functools import cache
from importlib import resources
from typing import Any

from ..data.own import is_own
from ..errors import MissingExtraError, check_choice, check_flags, value_error

__all__ = ["DEFAULT_METHOD", "available", "default_method", "merge", "named_configuration"]

DEFAULT_METHOD = "posterior-replay"
_CLASS = "class_path"


def available() -> dict[str, list[str]]:
    """Return the methods that are configured for each stream."""
    methods = {name: _read("methods", name).get("kinds") for name in _names("methods")}
    found = {}
    for stream in _names("streams"):
        kind = _read("streams", stream).get("kind", "classification")
        found[stream] = [name for name, kinds in methods.items() if kinds is None or kind in kinds]
    return found


def default_method(data: str) -> str:
    """Return the method of a stream where none is named: that of its configuration, else ``posterior-replay``.

    Args:
        data: name of the stream; an unknown one is refused elsewhere.
    """
    return str(_read("streams", data).get("method", DEFAULT_METHOD)) if data in _names("streams") else DEFAULT_METHOD


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return the nested mapping ``base`` with the leaves of ``over`` in place of its own.

    An object of another class takes the place of the old one, whose arguments are not its own.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
        {'a': {'b': 1, 'c': 3}}
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict) and not _of_other_classes(old, value)
        out[key] = merge(out[key], value) if nested else value
    return out


def _of_other_classes(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Say whether both mappings name a class, and not the same one."""
    return old.get(_CLASS, new.get(_CLASS)) != new.get(_CLASS, old.get(_CLASS))


def named_configuration(data: str, method: str, *, quick: bool = False) -> str:
    """Return the configuration for a stream and a method as YAML text.

    The method's settings override the stream's. A stream's section ``for_class`` gives arguments by the name of a
    class; they apply wherever the method uses that class, unless the method sets them itself. Its section
    ``for_method`` gives settings by the name of a method, which override both. The stream's section ``quick``, which
    may have both of these, overrides everything but a section ``quick`` of the method. A method whose
    learner is not trained by steps lists under ``keeps`` the arguments that it takes from the stream and from
    ``quick``; without the list it takes all.

    Args:
        data: name of the stream, or ``module:function`` for one of your own, which gets settings for vectors and small
            images.
        method: name of the method.
        quick: apply the section ``quick``, a scaled-down version of the run.
    """
    check_flags(quick=quick)
    stream, settings = _both(data, method)
    quicker, class_arguments = stream.pop("quick", None), stream.pop("for_class", {})
    keeps, quickest = settings.pop("keeps", None), settings.pop("quick", {})
    own = stream.pop("for_method", {}).get(method, {})
    for key in ("kind", "kinds", "method"):
        stream.pop(key, None)
        settings.pop(key, None)
    for part in (stream, quicker) if keeps is not None else ():
        _keep(part, keeps)
    settings = merge(merge(_with_class_arguments(merge(stream, settings), class_arguments), settings), own)
    settings["method"] = method
    if quick:
        if quicker is None:
            raise value_error("quick", expected=f"a configuration with a quick form, {data} has none", found="quick")
        smaller, own = quicker.pop("for_class", {}), quicker.pop("for_method", {}).get(method, {})
        settings = merge(merge(_with_class_arguments(merge(settings, quicker), smaller), quickest), own)
    return str(_yaml().safe_dump(settings, sort_keys=False))


def _both(data: str, method: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of a stream and of a method that there is for it."""
    if is_own(data):
        check_choice("method", method, _names("methods"), "See: bayeshnet list")
        return {**_read("", "own"), "data": data}, _read("methods", method)
    known = available()
    check_choice("data", data, known, "See: bayeshnet list; or name a function of your own, module:function")
    check_choice("method", method, known[data], f"Those are configured for {data}; see: bayeshnet list")
    return _read("streams", data), _read("methods", method)


def _keep(settings: dict[str, Any] | None, names: list[str]) -> None:
    """Remove the arguments of the learner that are not among ``names``."""
    learner = (settings or {}).get("learner", {})
    learner["init_args"] = {name: value for name, value in learner.get("init_args", {}).items() if name in names}


def _with_class_arguments(node: Any, class_arguments: dict[str, dict[str, Any]]) -> Any:
    """Return the configuration with the given arguments of each class in place of its own."""
    if not isinstance(node, dict):
        return node
    out = {key: _with_class_arguments(value, class_arguments) for key, value in node.items()}
    arguments = class_arguments.get(str(out.get(_CLASS)))
    return out if arguments is None else merge(out, {"init_args": arguments})


def _names(folder: str) -> list[str]:
    files = (resources.files("bayeshnet") / "configs" / folder).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def _read(folder: str, name: str) -> dict[str, Any]:
    return copy.deepcopy(_parsed(folder, name))


@cache
def _parsed(folder: str, name: str) -> dict[str, Any]:
    text = (resources.files("bayeshnet") / "configs" / folder / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(_yaml().safe_load(text))


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("pyyaml", "app", "reading configurations") from None
    return yaml
