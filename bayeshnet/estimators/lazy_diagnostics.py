"""What an estimator can say of itself, worked out when someone asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["Findings"]


class Findings(Mapping[str, Any]):
    """A mapping some of whose values are computed, without gradient, when they are first looked at.

    A training step looks at few of its estimator's diagnostics; the others then cost nothing.

    Args:
        known: values by name.
        later: functions without arguments that return values, by name.

    Example:
        >>> found = Findings({"a": 1}, {"b": lambda: 2})
        >>> list(found), found["b"], dict(found)
        (['a', 'b'], 2, {'a': 1, 'b': 2})
    """

    def __init__(self, known: Mapping[str, Any], later: Mapping[str, Callable[[], Any]]) -> None:
        self._names = [*known, *(name for name in later if name not in known)]
        self._known, self._later = dict(known), {k: v for k, v in later.items() if k not in known}

    def __getitem__(self, name: str) -> Any:
        """The value of ``name``."""
        work_out = self._later.get(name)
        if work_out is not None:
            with torch.no_grad():
                self._known[name] = work_out()
            self._later.pop(name, None)
        return self._known[name]

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """All values, with those of ``other`` over them, as dictionaries do it."""
        return {**self, **other}

    def __contains__(self, name: object) -> bool:
        """Whether there is such a value, known or not yet."""
        return name in self._known or name in self._later

    def __iter__(self) -> Iterator[str]:
        """Names in the order in which they were given."""
        return iter(self._names)

    def __len__(self) -> int:
        """Number of values."""
        return len(self._names)

    def __repr__(self) -> str:
        """As a dictionary shows itself."""
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles know all values."""
        return Findings, (dict(self), {})
