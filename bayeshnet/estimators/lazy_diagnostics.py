"""Diagnostics that are computed at first access."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["LazyDiagnostics"]


class LazyDiagnostics(Mapping[str, Any]):
    """A mapping some of whose values are computed, without gradient, at first access.

    A training step reads few of its estimator's diagnostics; the others then cost nothing.

    Args:
        known: values by name.
        later: functions without arguments that return values, by name.

    Example:
        >>> found = LazyDiagnostics({"a": 1}, {"b": lambda: 2})
        >>> list(found), found["b"], dict(found)
        (['a', 'b'], 2, {'a': 1, 'b': 2})
    """

    def __init__(self, known: Mapping[str, Any], later: Mapping[str, Callable[[], Any]]) -> None:
        self._names = [*known, *(name for name in later if name not in known)]
        self._known, self._later = dict(known), {k: v for k, v in later.items() if k not in known}

    def __getitem__(self, name: str) -> Any:
        """Return the value of ``name``."""
        compute = self._later.get(name)
        if compute is not None:
            with torch.no_grad():
                self._known[name] = compute()
            self._later.pop(name, None)
        return self._known[name]

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """Return all values, updated by those of ``other``, as for dictionaries."""
        return {**self, **other}

    def __contains__(self, name: object) -> bool:
        """Return whether there is such a value, computed or not."""
        return name in self._known or name in self._later

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order in which they were given."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._names)

    def __repr__(self) -> str:
        """Show all values like a dictionary."""
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with all values computed."""
        return LazyDiagnostics, (dict(self), {})
