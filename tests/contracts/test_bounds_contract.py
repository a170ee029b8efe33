"""Contract of the bounds: each public argument that is a number takes its least value and refuses what lies below.

The bounds are written down in ``tests/contracts/bounds.py``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from tests.contracts.bounds import FITTING, INTEGERS, NUMBERS, Kind
from tests.contracts.test_doors_contract import TABLES, _elsewhere, _loaded, _short
from tests.support.doors import Door, open_door

__all__ = ["_elsewhere", "_loaded"]

PACKAGES = {_short(package): package for package in TABLES}


def numbers_of(package: ModuleType) -> dict[str, tuple[str, Door, str, Any]]:
    """Return name, door, argument and valid value of all numbers that doors take, by ``name.argument``."""
    return {
        f"{name}.{argument}": (name, door, argument, value)
        for name, door in TABLES[package].items()
        if not door.closed
        for argument, value in door.valid().items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def kind_of(place: str, package: str, value: Any) -> Kind | None:
    """Return the kind of an argument, or None if none is written down."""
    kinds = NUMBERS if isinstance(value, float) else INTEGERS
    return next((kind for kind in kinds.values() if place in kind[2].get(package, "").split()), None)


def refusal(package: ModuleType, name: str, door: Door, argument: str, value: float) -> str | None:
    """Return the message with which a value is refused, or None if it is taken."""
    try:
        open_door(package, name, door)(**{**door.valid(), argument: value})
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_numbers_begin_where_they_should(package):
    wrong = []
    for place, (name, door, argument, valid) in numbers_of(PACKAGES[package]).items():
        kind = kind_of(place, package, valid)
        for value in kind[0] if kind else ():
            if (said := refusal(PACKAGES[package], name, door, argument, value)) is not None:
                wrong.append(f"{place} refuses {value}: {said}")
        for value in kind[1] if kind else ():
            if refusal(PACKAGES[package], name, door, argument, value) is None:
                wrong.append(f"{place} takes {value}")
    assert wrong == []


def test_bounds_are_of_arguments_that_there_are():
    tables = [FITTING, *(kind[2] for kind in (*INTEGERS.values(), *NUMBERS.values()))]
    named = [(package, place) for table in tables for package, places in table.items() for place in places.split()]
    assert len(named) == len(set(named))
    there = {(package, place) for package, module in PACKAGES.items() for place in numbers_of(module)}
    assert set(named) <= there
    assert len(named) > 400
