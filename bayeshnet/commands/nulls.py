"""Options that set a part of the learner to ``null``, which the parser accepts in a configuration alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..runs.judged_settings import inline

__all__ = ["with_nulls"]


def with_nulls(words: Sequence[str], base: str) -> list[str]:
    """Replace each option that sets a part of the learner to ``null`` by an inline configuration.

    Args:
        words: options with their full names.
        base: configuration of the named stream and method, as YAML.
    """
    import yaml

    joined: list[str] = []
    for word in words:
        if word == "null" and joined and joined[-1].startswith("--learner.") and "=" not in joined[-1]:
            joined[-1] += "=null"
        else:
            joined.append(word)
    return [_nested_null(word, yaml.safe_load(base)) if _is_null(word) else word for word in joined]


def _is_null(word: str) -> bool:
    return word.startswith("--learner.") and word.endswith("=null")


def _nested_null(word: str, base: dict[str, Any]) -> str:
    """Turn ``--learner.a.b=null`` into an inline configuration, where arguments of classes are under ``init_args``."""
    node: Any = base
    path: list[str] = []
    for name in word.removeprefix("--").removesuffix("=null").split("."):
        if isinstance(node, dict) and "class_path" in node and name != "init_args":
            path, node = [*path, "init_args"], node.get("init_args")
        path, node = [*path, name], node.get(name) if isinstance(node, dict) else None
    return "--config=" + inline("".join(f"{{{name}: " for name in path) + "null" + "}" * len(path))
