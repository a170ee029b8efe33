"""Doors: public functions, constructors and methods with valid arguments, and the faults that hostile ones show."""

from __future__ import annotations

import dataclasses
import inspect
import re
import resource
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tests.support.hostile import hostile_values

__all__ = ["Door", "cases", "faults", "numbers", "open_door", "public_names"]

SECONDS = 10.0
PATIENCE = 6
BYTES = 2**30
ORDINARY = 1e4


@dataclass(frozen=True)
class Door:
    """Valid arguments of a public name, and how its result is judged.

    Args:
        arguments: by name, or a function that makes them anew for each call; tensors are small.
        random: True if the result depends on draws that differ between precisions.
        read: a function from the result to what is judged; by default all tensors and floating numbers in it, and
            nothing of what a constructor builds.
        of: makes the object whose method is called, for a name with a dot such as ``"MLP.forward"``.
        hot: True for a call within training steps, which looks at shapes and dtypes and never at values: its result
            is judged for ordinary values alone, and to the precision of its dtype.
        also: further kinds of errors with which the call refuses by name, such as ``FileNotFoundError``.
        closed: reason why a class is not built by users, such as ``"abstract"``; it has no arguments then.
    """

    arguments: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    random: bool = False
    read: Callable[[Any], Any] | None = None
    of: Callable[[], Any] | None = None
    hot: bool = False
    also: tuple[type[Exception], ...] = ()
    closed: str = ""

    def valid(self) -> dict[str, Any]:
        """Return valid arguments."""
        return dict(self.arguments() if callable(self.arguments) else self.arguments)


def public_names(package: ModuleType) -> set[str]:
    """Return the functions and classes in the ``__all__`` of a package or module that are at home in it."""
    things = {name: getattr(package, name) for name in package.__all__}
    return {
        name
        for name, thing in things.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and f"{thing.__module__}.".startswith(f"{package.__name__}.")
    }


def open_door(package: ModuleType, name: str, door: Door) -> Callable[..., Any]:
    """Return what is called: a function, a class, or a method of a fresh object."""
    head, _, method = name.partition(".")
    if not method:
        return getattr(package, head)
    return getattr(getattr(package, head) if door.of is None else door.of(), method)


def cases(door: Door, argument: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a description and arguments, one of which is hostile, for each hostile value."""
    for what, value in hostile_values(door.valid()[argument]):
        yield what, {**door.valid(), argument: value}


def numbers(result: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors and floating numbers in a result, at any depth."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        for entry in dataclasses.fields(result):
            yield from numbers(getattr(result, entry.name))
    elif isinstance(result, (tuple, list)):
        for entry in result:
            yield from numbers(entry)
    elif isinstance(result, Mapping):
        yield from numbers(list(result.values()))
    elif isinstance(result, (torch.Tensor, float)):
        found = torch.as_tensor(result, dtype=None if isinstance(result, torch.Tensor) else torch.float64).detach()
        if found.device.type != "meta":
            yield found if found.layout is torch.strided else found.to_dense()


def faults(package: ModuleType, name: str, door: Door, argument: str) -> dict[str, str]:
    """Return what is wrong with the calls with hostile values of one argument, by descriptions of the values."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {}
    for what, arguments in cases(door, argument):
        wrong = fault(package, name, door, arguments, argument)
        if wrong is not None:
            found[what] = wrong
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > BYTES:
        found["together"] = "take more than 1 GiB"
    return found


def fault(
    package: ModuleType, name: str, door: Door, arguments: dict[str, Any], argument: str | None = None
) -> str | None:
    """Return what is wrong with a call, or None."""
    call = open_door(package, name, door)
    names = "|".join({*inspect.signature(call).parameters, *arguments})
    begin = time.process_time()  # of this process: others may keep the machine busy
    try:
        with _limits():
            result = list(_read(call, door, arguments))
    except (ValueError, TypeError, *door.also) as error:
        named = re.match(rf"({names})\b.*: expected", str(error), re.DOTALL)
        return None if named else f"a message without the argument: {type(error).__name__}: {error}"
    except _TooSlowError:
        return "takes too long"
    except (Exception, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    if time.process_time() - begin > SECONDS:
        return "takes too long"
    if door.hot and argument is not None and not _ordinary(arguments[argument]):
        return None
    if any(bool(value.isnan().any()) for value in result):
        return f"returns {result}"
    return None if door.random else _inexact(result, call, door, arguments)


def _inexact(result: list[torch.Tensor], call: Callable[..., Any], door: Door, arguments: dict[str, Any]) -> str | None:
    """Compare numbers with those of double precision."""
    if not result or any(isinstance(value, Iterator) for value in arguments.values()):
        return None
    try:
        exact = list(_read(call, door, {name: _double(value) for name, value in arguments.items()}))
    except Exception as error:
        return f"works, but not in double precision: {error}"
    for value, right in zip(result, exact, strict=True):
        rtol, atol = 1e-4, 1e-5
        if door.hot and value.is_floating_point():
            rtol = atol = max(1e-4, 16 * torch.finfo(value.dtype).eps)
        if value.shape != right.shape or not torch.allclose(_wide(value), _wide(right), rtol=rtol, atol=atol):
            return f"returns {value}, in double precision {right}"
    return None


def _read(call: Callable[..., Any], door: Door, arguments: dict[str, Any]) -> Iterator[torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of arguments under their old names
        result = call(**arguments)
    if door.read is not None:
        yield from numbers(door.read(result))
    elif not inspect.isclass(call):
        yield from numbers(result)


def _double(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_double(entry) for entry in value)
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.complex128 if value.is_complex() else torch.float64)


def _ordinary(value: Any) -> bool:
    return all(bool((entry.isfinite() & (entry.abs() < ORDINARY)).all()) for entry in map(_wide, numbers(value)))


class _TooSlowError(BaseException):
    """A call has taken too long; no handler of exceptions in the library may stop it."""


@contextmanager
def _limits() -> Iterator[None]:
    """Interrupt what takes ``PATIENCE * SECONDS`` or allocates more than ``BYTES``, where the system can."""

    def stop(*_: Any) -> None:
        raise _TooSlowError

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    bounded = statm.exists() and not torch.cuda.is_available()  # CUDA reserves addresses without end
    timed = threading.current_thread() is threading.main_thread()
    if bounded:
        present = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + BYTES, hard))
    if timed:
        former = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * SECONDS)
    try:
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
        if bounded:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
