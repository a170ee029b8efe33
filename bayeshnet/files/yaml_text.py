"""Reading of YAML that may come from anyone: mappings, lists and plain values; no aliases, no tags, bounded depth."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, value_error
from .texts import TEXT_LIMIT, read_text

__all__ = ["parse_yaml", "read_yaml"]

_DEPTH = 32
_LEFT_OUT = ("timestamp", "merge", "value", "binary")


def read_yaml(path: str | Path, limit: int = TEXT_LIMIT) -> Any:
    """Read a YAML file, as :func:`~bayeshnet.files.read_text` and :func:`parse_yaml` do."""
    return parse_yaml(read_text(path, limit), f"file {str(path)!r}")


def parse_yaml(text: str, what: str = "text") -> Any:
    """Parse one YAML document of mappings, lists, texts, numbers, truth values and null.

    Anchors, aliases, tags and keys that stand twice are refused, and so is nesting of more than 32 levels. Dates stay
    texts.

    Args:
        text: the document, of at most ``TEXT_LIMIT`` characters.
        what: description of the text for messages.

    Raises:
        ValueError: if it is not YAML of this kind.

    Example:
        >>> parse_yaml("a: [1, 2.5, null]")
        {'a': [1, 2.5, None]}
        >>> parse_yaml("a: !!python/name:os.system", "file 'x.yaml'")
        Traceback (most recent call last):
        ValueError: file 'x.yaml': expected plain YAML, got a text that cannot be read: a tag in line 1.
    """
    if len(text) > TEXT_LIMIT:
        raise value_error(what, expected=f"at most {TEXT_LIMIT} characters", found="more")
    yaml, loader = _loader()
    try:
        _check_events(yaml, text)
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        found = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
        raise value_error(what, expected="plain YAML", found=f"a text that cannot be read: {found}") from error


def _check_events(yaml: Any, text: str) -> None:
    """Refuse what is not plain, event by event; nothing is built, and the nesting uses no stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"an anchor or alias in line {line}")
        if isinstance(event, yaml.NodeEvent) and event.tag is not None:
            raise ValueError(f"a tag in line {line}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise ValueError(f"nesting of more than {_DEPTH} levels in line {line}")


@cache
def _loader() -> tuple[Any, Any]:
    """Return the package and a loader of plain values."""
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("pyyaml", "app", "reading configurations") from None

    class Plain(yaml.SafeLoader):  # type: ignore[misc]
        """A loader without dates and merged mappings, which refuses keys that stand twice."""

        yaml_implicit_resolvers = {  # noqa: RUF012  the package's own name
            first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] not in _LEFT_OUT]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def flatten_mapping(self, node: Any) -> None:
            """Leave the mapping as it is."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            """Build a mapping, unless a key stands twice."""
            built: dict[Any, Any] = super().construct_mapping(node, deep)
            if len(built) < len(node.value):
                raise ValueError(f"a key twice in the mapping of line {node.start_mark.line + 1}")
            return built

    return yaml, Plain
