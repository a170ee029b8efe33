"""Settings that may come from anyone: what they name is judged before a parser sees it, and before it is built."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..allowed import check_allowed_modules, check_class_path, find_class
from ..data.own import is_own, split_name
from ..errors import value_error
from ..files import parse_yaml
from .experiment import Experiment

__all__ = ["check_own_stream", "check_resolved", "check_text", "inline", "read_settings"]

_PLAIN = re.compile(r"[\w.+\- ]*")
_NESTED = 4
_LONGEST_PATH = 4096


def read_settings(text: str, what: str, allow: Sequence[str] = ()) -> dict[str, Any]:
    """Parse the settings of an experiment, and refuse classes that they may not name.

    Args:
        text: YAML.
        what: description of the text for messages.
        allow: names of modules whose classes may be named beside those of the library and the layers of torch.

    Raises:
        ValueError: if the text is not a plain YAML mapping, has keys that no experiment has, or names other classes.
    """
    settings = parse_yaml(text, what)
    if not isinstance(settings, dict):
        kind = "nothing" if settings is None else f"a {type(settings).__name__}"
        raise value_error(what, expected="settings by name", found=f"a text that holds {kind}")
    known = [f.name for f in fields(Experiment)]
    for key, value in settings.items():
        name = str(key).partition(".")[0]
        if name not in known:
            raise value_error(f"key in {what}", expected=f"one of {', '.join(known)}", got=key)
        if name == "data" and is_own(str(value)):
            check_own_stream(str(value), allow)
        if name == "learner":
            try:
                _check(value, check_allowed_modules(allow))
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error
    return settings


def inline(settings: Mapping[str, Any] | str) -> str:
    """Return settings as YAML that a parser cannot take for the path of a file, since no path is as long."""
    import yaml

    if not isinstance(settings, str):
        settings = str(yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False))
    return settings.ljust(_LONGEST_PATH + 1)


def check_text(text: str, allow: Sequence[str] = ()) -> None:
    """Refuse a text that a parser would take for a class, a function or nested settings of classes not allowed.

    Example:
        >>> check_text("gaussian")
        >>> check_text("{class_path: bayeshnet.builders.MLPNetwork}")
        >>> check_text("{a: [{class_path: os.system}]}")
        Traceback (most recent call last):
        ValueError: class_path: expected a class of the library or a layer of torch.nn, got 'os.system'. If you trust \
the module, allow it with --allow os.
    """
    _check(text, check_allowed_modules(allow))


def check_own_stream(name: str, allow: Sequence[str] = ()) -> None:
    """Refuse a stream ``module:function`` of a module that is not allowed; nothing is imported.

    Example:
        >>> check_own_stream("my_data:birds", ["my_data"])
        >>> check_own_stream("os:system")
        Traceback (most recent call last):
        ValueError: data: expected a stream of the library, got 'os:system'. If you trust the module, allow it with \
--allow os.
    """
    module, _ = split_name(name)
    if not any(f"{module}.".startswith(f"{name}.") for name in check_allowed_modules(allow)):
        hint = f"If you trust the module, allow it with --allow {module}."
        raise value_error("data", expected="a stream of the library", got=name, hint=hint)


def check_resolved(settings: Any, allow: Sequence[str] = ()) -> None:
    """Check the class paths of parsed settings, in which short names have been replaced by full paths.

    A class whose short name was given may be any that derives from one of the library and exists already.

    Raises:
        ValueError: if another class is named.
    """
    for path in _class_paths(settings):
        try:
            find_class(path, allow)
        except ValueError:
            module, _, name = path.rpartition(".")
            found = getattr(sys.modules.get(module), name, None)
            if not isinstance(found, type) or not any(_is_own(base) for base in found.__mro__):
                raise


def _is_own(base: type) -> bool:
    return base.__module__.partition(".")[0] == __name__.partition(".")[0]


def _class_paths(node: Any) -> Iterator[str]:
    """Yield all class paths in nested namespaces, mappings and lists."""
    if isinstance(node, (list, tuple)):
        for entry in node:
            yield from _class_paths(entry)
    elif isinstance(node, (Mapping, Namespace)):
        for key, entry in (node if isinstance(node, Mapping) else vars(node)).items():
            if key == "class_path":
                yield str(entry)
            else:
                yield from _class_paths(entry)


def _check(node: Any, allow: tuple[str, ...], depth: int = 0) -> None:
    """Judge all texts of a tree: also those that are no class paths, since a parser may import any dotted name."""
    if isinstance(node, dict):
        for key, entry in node.items():
            if not isinstance(key, str) or key.startswith("_"):
                raise value_error("key of the learner", expected="the name of an argument", got=key)
            _check(entry, allow, depth)
    elif isinstance(node, list):
        for entry in node:
            _check(entry, allow, depth)
    elif isinstance(node, str):
        _check_words(node, allow, depth)


def _check_words(text: str, allow: tuple[str, ...], depth: int) -> None:
    words = text.strip()
    if _is_dotted(words):
        check_class_path(words, allow)
        if words.startswith(f"{__name__.partition('.')[0]}."):
            find_class(words, allow)
    elif not _PLAIN.fullmatch(words):
        value = parse_yaml(words, "text") if depth < _NESTED else words
        if value == words:
            raise value_error("text", expected="a plain word or nested settings", got=text)
        _check(value, allow, depth + 1)


def _is_dotted(words: str) -> bool:
    parts = words.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts)
