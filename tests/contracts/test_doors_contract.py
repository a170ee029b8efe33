"""Contract of the doors: whatever is given to a public function or constructor, it works right or is refused by name.

Each argument takes every hostile value in turn, the others being valid. A constructor builds its object; a function
returns what double precision gives, without NaN; or ``ValueError`` or ``TypeError`` is raised, whose message begins
with an argument's name. A new public name joins by a line in the table of its package, ``tests/contracts/doors/``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest
import torch

import bayeshnet
from tests.contracts import doors
from tests.support.doors import Door, fault, faults, numbers, open_door, public_names
from tests.support.hostile import hostile_values

# The tools of authors of the library, and the command line, whose arguments are text.
INSIDE = {
    *("allowed", "checks", "commands", "cli", "deprecation", "errors", "files", "memo", "optim", "per_example"),
    *("representation", "speed", "testing"),
}


def _tables() -> dict[ModuleType, dict[str, Door]]:
    """Load the tables, whose values are the same whatever was drawn before."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        names = [table.name for table in pkgutil.iter_modules(doors.__path__)]
        tables = {name: importlib.import_module(f"{doors.__name__}.{name}").DOORS for name in names}
    return {importlib.import_module(f"bayeshnet.{name}"): table for name, table in tables.items()}


TABLES = _tables()
OPEN = [(package, name) for package, table in TABLES.items() for name, door in table.items() if not door.closed]
ARGUMENTS = [(package, name, argument) for package, name in OPEN for argument in TABLES[package][name].valid()]
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@pytest.fixture(autouse=True, scope="module")
def _loaded():
    """Draw once without a device: for that torch loads modules, which takes seconds."""
    torch.randn(2, device="meta")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Let relative paths among the hostile values lead nowhere."""
    monkeypatch.chdir(tmp_path)


def _short(value: Any) -> str:
    return value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else str(value)


def test_every_package_has_its_table():
    packages = {module.name for module in pkgutil.iter_modules(bayeshnet.__path__) if not module.name.startswith("_")}
    assert packages - INSIDE == {_short(package) for package in TABLES}


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda x: x, None),
        (lambda x: x.log(), "returns"),
        (lambda x: {}[1], "KeyError"),
        (lambda x: float("x"), "a message without the argument"),
        (lambda x: torch.empty(2**31), "allocate"),
        (lambda x: x.float().half().to(x) if x.dtype == torch.float32 else x, "in double precision"),
    ],
)
def test_faults_are_found(call, found):
    package = ModuleType("package")
    package.door = call
    wrong = fault(package, "door", Door({"x": torch.tensor(-1.0)}), {"x": torch.tensor(-1.0005)})
    assert wrong is None if found is None else found in wrong


@pytest.mark.parametrize("package", TABLES, ids=_short)
def test_every_public_name_has_its_line(package):
    lines = {name for name in TABLES[package] if "." not in name}
    assert public_names(package) == lines
    assert {name.partition(".")[0] for name in TABLES[package]} == lines


def test_there_are_ten_thousand_cases():
    valid = [TABLES[package][name].valid() for package, name in OPEN]
    assert sum(len(list(hostile_values(value))) for arguments in valid for value in arguments.values()) > 10_000


@pytest.mark.parametrize(("package", "name"), OPEN, ids=_short)
def test_every_argument_has_a_valid_value_that_works(package, name):
    door = TABLES[package][name]
    call = open_door(package, name, door)
    parameters = inspect.signature(call).parameters.values()
    fixed = {parameter.name for parameter in parameters if parameter.kind not in VARIABLE}
    assert fixed == set(door.valid()) or (len(fixed) < len(parameters) and fixed <= set(door.valid()))
    assert fault(package, name, door, door.valid()) is None
    read = door.read or (lambda result: () if inspect.isclass(call) else result)
    assert all(bool(value.isfinite().all()) for value in numbers(read(call(**door.valid()))))


@pytest.mark.parametrize(("package", "name", "argument"), ARGUMENTS, ids=_short)
def test_hostile_values_work_right_or_are_refused_by_name(package, name, argument):
    assert faults(package, name, TABLES[package][name], argument) == {}
