"""Argument checks of places, lists and functions, made of those of :mod:`bayeshnet.errors`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .errors import check_instance, type_error, value_error

__all__ = [
    "check_all",
    "check_device",
    "check_devices",
    "check_dtype",
    "check_generator",
    "check_texts",
    "naming",
    "refusing",
]


def check_all(argument: str, values: Any, kind: type, expected: str) -> Any:
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
            found = f"one that raises TypeError: {error}"
            raise type_error(argument, expected=expected, found=found) from error

    return call


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
