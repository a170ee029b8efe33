"""Contracts as tests: a hypernetwork, an estimator or a head of your own joins them by a few lines.

The suites are classes with tests for pytest, which has to be installed. A module of tests subclasses one of them under
a name that begins with ``Test`` and says how to build what is tested.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .estimators import EstimatorContract
    from .heads import HeadContract
    from .hypernetworks import HypernetworkContract

__all__ = ["EstimatorContract", "HeadContract", "HypernetworkContract"]

_HOMES = {
    "EstimatorContract": ("estimators",),
    "HeadContract": ("heads",),
    "HypernetworkContract": ("hypernetworks", "hypernetwork_modules", "hypernetwork_outputs"),
}


def __getattr__(name: str) -> Any:
    """Load a suite at its first use, with pytest's messages of failed assertions."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("pytest") is None:
        raise ImportError(f"{__name__}.{name} needs pytest, which is not installed. Run: pip install pytest")
    import pytest

    for module in _HOMES[name]:
        if f"{__name__}.{module}" not in sys.modules:
            pytest.register_assert_rewrite(f"{__name__}.{module}")
    return getattr(import_module(f"{__name__}.{_HOMES[name][0]}"), name)


def __dir__() -> list[str]:
    """List the suites as well."""
    return sorted({*globals(), *_HOMES})
