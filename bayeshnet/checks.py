"""Argument checks of what is no number: places, functions, paths, texts, seeds, lists; made of those of ``errors``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .errors import check_instance, check_int, type_error, value_error

__all__ = [
    "check_all",
    "check_callable",
    "check_data",
    "check_device",
    "check_devices",
    "check_dtype",
    "check_generator",
    "check_items",
    "check_mapping",
    "check_path",
    "check_seed",
    "check_text",
    "check_texts",
    "naming",
    "refusing",
]

_SEEDS = (-(2**63), 2**64 - 1)


def check_all(argument: str, values: Any, kind: type | tuple[type, ...], expected: str) -> Any:
    """Return a list or tuple, possibly empty, if all its entries are instances of ``kind``.

    Example:
        >>> check_all("nets", [torch.nn.ReLU(), 3], torch.nn.Module, "a list of modules")
        Traceback (most recent call last):
        TypeError: nets: expected a list of modules, got 3.
    """
    for value in check_instance(argument, values, (list, tuple), expected):
        check_instance(argument, value, kind, expected)
    return values


def check_texts(argument: str, texts: Any, count: int) -> list[str] | None:
    """Return ``count`` strings as a list, or None."""
    if texts is None:
        return None
    expected = f"a list of {count} strings, or None"
    if len(check_all(argument, texts, str, expected)) != count:
        raise value_error(argument, expected=expected, got=texts)
    return list(texts)


def check_dtype(argument: str, dtype: Any) -> Any:
    """Return ``dtype`` if it is None or a floating dtype of at least 16 bits."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1):
        raise type_error(argument, expected="a floating torch.dtype, or None", got=dtype)
    return dtype


def check_device(argument: str, device: Any) -> Any:
    """Return ``device`` if it is None or a device on which tensors can be made here."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # whose kind depends on the device
        raise value_error(argument, expected="a device that is present, or None", got=device) from error
    return device


def check_devices(argument: str, value: Any, device: torch.device) -> None:
    """Refuse a tensor, alone or in a tuple, that is on another device than ``device``."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, torch.Tensor) and part.device != device:
            raise value_error(argument, expected=f"tensors on {device}", got=value)


def check_generator(generator: Any) -> Any:
    """Return the argument ``generator`` if it is None or a random generator of torch."""
    return check_instance("generator", generator, (torch.Generator, type(None)), "a torch.Generator, or None")


def refusing(argument: str, function: Callable[..., Any], expected: str) -> Callable[..., Any]:
    """Return ``function``, a user's argument, as one whose ``TypeError`` names the argument and is kept as the cause.

    Example:
        >>> refusing("select", len, "a function of a name and a parameter")("bias", torch.zeros(2))
        Traceback (most recent call last):
        TypeError: select: expected a function of a name and a parameter, got one that raises TypeError: ...
    """

    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TypeError as error:
            if ": expected " in str(error):  # a message of this library says it better
                raise
            found = f"one that raises TypeError: {error}"
            raise type_error(argument, expected=expected, found=found) from error

    return call


def check_seed(argument: str, seed: Any, minimum: int = _SEEDS[0]) -> int:
    """Return a seed as an ``int`` that torch's generators take.

    Example:
        >>> check_seed("seed", 2**70)
        Traceback (most recent call last):
        ValueError: seed: expected an integer <= 18446744073709551615, got 1180591620717411303424.
    """
    number = check_int(argument, seed, minimum)
    if number > _SEEDS[1]:
        raise value_error(argument, expected=f"an integer <= {_SEEDS[1]}", got=seed)
    return number


def check_path(argument: str, path: Any, expected: str = "a path") -> Path:
    """Return a text or an object like a path as a ``Path``; an empty text is refused."""
    if not isinstance(path, (str, os.PathLike)):
        raise type_error(argument, expected=expected, got=path)
    try:
        found = Path(path)
    except TypeError as error:  # of a path of bytes
        raise type_error(argument, expected=expected, got=path) from error
    if path == "":
        raise value_error(argument, expected=expected, got=path)
    return found


def check_text(argument: str, value: Any, expected: str = "a text") -> str:
    """Return ``value`` if it is a ``str``."""
    if not isinstance(value, str):
        raise type_error(argument, expected=expected, got=value)
    return value


def check_callable(argument: str, value: Any, expected: str = "a function") -> Any:
    """Return ``value`` if it can be called."""
    if not callable(value):
        raise type_error(argument, expected=expected, got=value)
    return value


def check_items(
    argument: str, values: Any, expected: str, kind: type | tuple[type, ...] = object, least: int = 0
) -> tuple[Any, ...]:
    """Return the entries of a list, a tuple or another iterable as a tuple.

    Args:
        argument: name of the argument.
        values: the entries; texts, mappings and sets are refused.
        expected: description of the accepted values.
        kind: type of the entries.
        least: smallest number of entries.

    Example:
        >>> check_items("sizes", [3, 4], "a list of sizes", int)
        (3, 4)
    """
    refused = isinstance(values, (str, bytes, Mapping, set, type)) or not isinstance(values, Iterable)
    if refused or getattr(values, "ndim", 1) == 0:
        raise type_error(argument, expected=expected, got=values)
    entries = tuple(values)
    for entry in entries:
        if not isinstance(entry, kind):
            raise type_error(argument, expected=expected, found=f"an entry that is a {type(entry).__name__}")
    if len(entries) < least:
        raise value_error(argument, expected=f"{expected}, at least {least}", found=f"{len(entries)}")
    return entries


def check_mapping(
    argument: str, value: Any, expected: str, kind: type | tuple[type, ...] = object, keys: type = str
) -> dict[Any, Any]:
    """Return a mapping as a new ``dict`` whose keys are of type ``keys`` and whose values are of type ``kind``."""
    if not isinstance(value, Mapping):
        raise type_error(argument, expected=expected, got=value)
    for key, entry in value.items():
        if not isinstance(key, keys):
            raise type_error(argument, expected=expected, found=f"a key that is a {type(key).__name__}")
        if not isinstance(entry, kind):
            raise type_error(argument, expected=expected, found=f"{key!r}, which is a {type(entry).__name__}")
    return dict(value)


def check_data(argument: str, value: Any, expected: str = "a dense tensor of real numbers") -> torch.Tensor:
    """Return ``value`` if it is a dense tensor of real numbers, at least 16 bits if they are floating.

    Neither its shape nor its values are looked at.
    """
    good = isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_complex()
    if not good or (value.is_floating_point() and value.dtype.itemsize < 2) or value.is_meta:
        raise type_error(argument, expected=expected, got=value)
    found: torch.Tensor = value
    return found


@contextmanager
def naming(argument: str, expected: str) -> Iterator[None]:
    """Turn errors of torch within the context into a ``ValueError`` that names the argument, but for lack of memory.

    Example:
        >>> with naming("x", "inputs (N, 3)"):
        ...     torch.zeros(2, 4) @ torch.zeros(3)
        Traceback (most recent call last):
        ValueError: x: expected inputs (N, 3), got RuntimeError: size mismatch, got input (2), mat (2x4), vec (3).
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise value_error(argument, expected=expected, found=f"{type(error).__name__}: {error}") from error
