"""Named configurations: a YAML file per stream and one per method, shipped with the package, merged into one."""

from __future__ import annotations

import copy
from functools import cache
from importlib import resources
from typing import Any

from ..errors import MissingExtraError, check_choice, value_error

__all__ = ["available", "merge", "named_configuration"]


def available() -> dict[str, list[str]]:
    """Methods that have a configuration, for each stream."""
    methods = {name: _read("methods", name).get("kinds") for name in _names("methods")}
    found = {}
    for stream in _names("streams"):
        kind = _read("streams", stream).get("kind", "classification")
        found[stream] = [name for name, kinds in methods.items() if kinds is None or kind in kinds]
    return found


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The nested mapping ``base`` with the leaves of ``over`` in place of its own.

    Example:
        >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
        {'a': {'b': 1, 'c': 3}}
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def named_configuration(data: str, method: str, *, quick: bool = False) -> str:
    """YAML text of the configuration for a stream and a method.

    The method's settings lie over the stream's. A stream's section ``for_class`` has arguments by the name of a class,
    which hold wherever the method uses that class, unless the method itself says otherwise; its section ``quick`` lies
    over all.

    Args:
        data: name of the stream.
        method: name of the method.
        quick: take the section ``quick``: the same work in a fraction of the time.
    """
    known = available()
    check_choice("data", data, known, "See: bayeshnet list")
    check_choice("method", method, known[data], f"Those are configured for {data}; see: bayeshnet list")
    stream, settings = _read("streams", data), _read("methods", method)
    faster, of_classes = stream.pop("quick", None), stream.pop("for_class", {})
    for key in ("kind", "kinds"):
        stream.pop(key, None)
        settings.pop(key, None)
    settings = merge(_specialized(merge(stream, settings), of_classes), settings)
    settings["method"] = method
    if quick:
        if faster is None:
            raise value_error("quick", expected=f"a configuration with a quick form, {data} has none", found="quick")
        settings = merge(settings, faster)
    return str(_yaml().safe_dump(settings, sort_keys=False))


def _specialized(node: Any, of_classes: dict[str, dict[str, Any]]) -> Any:
    """The tree with the arguments of each class laid over those that it has."""
    if not isinstance(node, dict):
        return node
    out = {key: _specialized(value, of_classes) for key, value in node.items()}
    arguments = of_classes.get(str(out.get("class_path")))
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
