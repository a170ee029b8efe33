"""Named configurations: one YAML file per stream and method, shipped with the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

from ..errors import MissingExtraError, check_choice, value_error

__all__ = ["available", "merge", "named_configuration"]


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("pyyaml", "app", "reading configurations") from None
    return yaml


def available() -> dict[str, list[str]]:
    """Methods that have a configuration, for each stream."""
    found: dict[str, list[str]] = {}
    root = resources.files("bayeshnet") / "configs"
    for folder in sorted(root.iterdir(), key=lambda f: f.name):
        if folder.is_dir():
            files = sorted(f.name for f in folder.iterdir())
            found[folder.name] = [name.removesuffix(".yaml") for name in files if name.endswith(".yaml")]
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

    Args:
        data: name of the stream.
        method: name of the method.
        quick: take the file's ``quick`` section over the rest: the same work in a fraction of the time.
    """
    known = available()
    check_choice("data", data, known, "See: bayeshnet list")
    check_choice("method", method, known[data], f"Those are configured for {data}; see: bayeshnet list")
    yaml = _yaml()
    text = (resources.files("bayeshnet") / "configs" / data / f"{method}.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    faster = settings.pop("quick", None)
    if quick:
        if faster is None:
            raise value_error(
                "quick", f"a configuration with a quick form, {data}/{method} has none", "quick", said=True
            )
        settings = merge(settings, faster)
    return yaml.safe_dump(settings, sort_keys=False)
