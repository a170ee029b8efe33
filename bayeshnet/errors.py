"""Argument checks with one message format: the argument, the accepted values, the value found, and advice."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

__all__ = [
    "LARGEST",
    "MissingExtraError",
    "check_choice",
    "check_finite",
    "check_flags",
    "check_floating",
    "check_function",
    "check_instance",
    "check_int",
    "check_ints",
    "check_number",
    "check_positive",
    "check_shape",
    "check_size",
    "check_sizes",
    "check_tensors",
    "describe",
    "type_error",
    "value_error",
]

LARGEST = 2**29
"""Largest size that is accepted, of a layer, an input, an embedding or all weights: a larger one is a slip."""


class MissingExtraError(ImportError):
    """An optional package that a feature needs is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}; install it with: pip install 'bayeshnet[{extra}]'")


def describe(value: Any) -> str:
    """Describe ``value`` in a few words for an error message; tensors by shape, dtype and device.

    Example:
        >>> describe(torch.zeros(2, 3))
        'a tensor of shape (2, 3), torch.float32 on cpu'
        >>> describe({"pixels": torch.zeros(2, 3)})
        "a dict with the keys 'pixels'"
        >>> describe((torch.zeros(2, 3), [torch.zeros(2)]))
        'a tuple of a tensor of shape (2, 3) and a list of a tensor of shape (2,)'
    """
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype} on {value.device}"
    if _holds_tensors(value):
        return _describe_nested(value)
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 80 else f"a {type(value).__name__}, {text[:60]}..."


def _holds_tensors(value: Any) -> bool:
    """Return whether a tuple, list or dict has a tensor among the first of its entries, at any depth."""
    if isinstance(value, (Mapping, tuple, list)):
        entries = value.values() if isinstance(value, Mapping) else value
        return any(isinstance(entry, torch.Tensor) or _holds_tensors(entry) for entry in islice(entries, 4))
    return False


def _describe_nested(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys " + ", ".join(repr(key) for key in islice(value, 6))
    if isinstance(value, (tuple, list)) and 0 < len(value) <= 4:
        return f"a {type(value).__name__} of " + " and ".join(_describe_nested(entry) for entry in value)
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else describe(value)


def value_error(
    argument: str, *, expected: str, got: Any = None, found: str | None = None, hint: str = ""
) -> ValueError:
    """Build the ``ValueError`` for a bad value.

    Args:
        argument: name of the argument.
        expected: description of the accepted values.
        got: the bad value.
        found: description of the bad value, used instead of ``got``.
        hint: advice, as a sentence.

    Example:
        >>> str(value_error("beta", expected="a number >= 0", got=-1, hint="Use 1.0 for the true KL."))
        'beta: expected a number >= 0, got -1. Use 1.0 for the true KL.'
    """
    return ValueError(_message(argument, expected, got, found, hint))


def type_error(argument: str, *, expected: str, got: Any = None, found: str | None = None, hint: str = "") -> TypeError:
    """Build the ``TypeError`` for a value of a wrong type; arguments as in :func:`value_error`."""
    return TypeError(_message(argument, expected, got, found, hint))


def _message(argument: str, expected: str, got: Any, found: str | None, hint: str) -> str:
    text = f"{argument}: expected {expected}, got {describe(got) if found is None else found}."
    return f"{text} {hint}" if hint else text


def check_choice(argument: str, value: Any, choices: Collection[Any], hint: str = "") -> Any:
    """Return ``value`` if it is one of ``choices``, else raise ``ValueError``."""
    try:
        known = bool(value in choices)
    except (TypeError, ValueError, RuntimeError):  # of what has no hash, or no single truth
        known = False
    if not known:
        raise value_error(argument, expected="one of " + ", ".join(repr(c) for c in choices), got=value, hint=hint)
    return value


def check_int(argument: str, value: Any, minimum: int | None = None, hint: str = "") -> int:
    """Return ``value`` as an ``int`` of at least ``minimum``; bools are refused."""
    expected = "an integer" if minimum is None else f"an integer >= {minimum}"
    if isinstance(value, bool) or not hasattr(value, "__index__") or isinstance(value, torch.Tensor):
        raise type_error(argument, expected=expected, got=value, hint=hint)
    try:
        number = int(value.__index__())
    except TypeError as error:  # of an array
        raise type_error(argument, expected=expected, got=value, hint=hint) from error
    if minimum is not None and number < minimum:
        raise value_error(argument, expected=expected, got=value, hint=hint)
    return number


def check_ints(
    argument: str, values: Any, minimum: int | None = None, count: int | None = None, hint: str = ""
) -> list[int]:
    """Return a list or tuple of integers as a list; each must be at least ``minimum``, and their number ``count``."""
    expected = "a list or tuple of integers" if count is None else f"{count} integers"
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise type_error(argument, expected=expected, got=values, hint=hint)
    if count is not None and len(values) != count:
        raise value_error(argument, expected=expected, got=values, hint=hint)
    return [check_int(argument, value, minimum, hint) for value in values]


def check_size(argument: str, value: Any, minimum: int = 1, hint: str = "") -> int:
    """Return a size as an ``int`` from ``minimum`` to :data:`LARGEST`, which memory is asked for."""
    if (size := check_int(argument, value, minimum, hint)) > LARGEST:
        raise value_error(argument, expected=f"an integer <= {LARGEST}", got=value, hint=hint)
    return size


def check_sizes(argument: str, values: Any, minimum: int = 1, count: int | None = None, hint: str = "") -> list[int]:
    """Return a list or tuple of sizes as a list; arguments as in :func:`check_size` and :func:`check_ints`."""
    return [check_size(argument, value, minimum, hint) for value in check_ints(argument, values, minimum, count, hint)]


def check_instance(argument: str, value: Any, kind: type | tuple[type, ...], expected: str, hint: str = "") -> Any:
    """Return ``value`` if it is an instance of ``kind``, described by ``expected``.

    Example:
        >>> check_instance("net", 3, torch.nn.Module, "a torch.nn.Module")
        Traceback (most recent call last):
        TypeError: net: expected a torch.nn.Module, got 3.
    """
    if not isinstance(value, kind):
        raise type_error(argument, expected=expected, got=value, hint=hint)
    return value


def check_flags(**flags: Any) -> None:
    """Refuse arguments that are neither True nor False (nor 1 nor 0).

    Example:
        >>> check_flags(use_bias=True, verbose="no")
        Traceback (most recent call last):
        TypeError: verbose: expected True or False, got 'no'.
    """
    for argument, value in flags.items():
        if not isinstance(value, int) or value not in (0, 1):
            raise type_error(argument, expected="True or False", got=value)


def check_function(argument: str, value: Any, expected: str = "a function of a tensor, or None") -> Any:
    """Return ``value`` if it is None or callable; refuse classes, such as ``torch.nn.ReLU`` without parentheses."""
    if value is not None and (not callable(value) or isinstance(value, type)):
        raise type_error(
            argument,
            expected=expected,
            got=value,
            hint="Pass an instance such as torch.nn.ReLU()." if isinstance(value, type) else "",
        )
    return value


def check_number(
    argument: str, value: Any, minimum: float | None = None, maximum: float | None = None, hint: str = ""
) -> float:
    """Return ``value`` as a finite ``float`` within the closed interval ``[minimum, maximum]``."""
    bounds = [f">= {minimum}"] * (minimum is not None) + [f"<= {maximum}"] * (maximum is not None)
    expected = " ".join(["a finite number", " and ".join(bounds)]).strip()
    known = hasattr(value, "__float__") and not getattr(value, "ndim", 0)  # numpy 1 takes an array of one as a number
    if isinstance(value, (bool, str, torch.Tensor)) or not known:
        raise type_error(argument, expected=expected, got=value, hint=hint)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise type_error(argument, expected=expected, got=value, hint=hint) from error
    except OverflowError:
        number = math.inf
    low = minimum is not None and number < minimum
    high = maximum is not None and number > maximum
    if number != number or abs(number) == float("inf") or low or high:
        raise value_error(argument, expected=expected, got=value, hint=hint)
    return number


def check_positive(argument: str, value: Any, hint: str = "") -> float:
    """Return ``value`` as a finite ``float`` greater than zero."""
    number = check_number(argument, value, hint=hint)
    if number <= 0:
        raise value_error(argument, expected="a number > 0", got=value, hint=hint)
    return number


def check_shape(argument: str, tensor: Any, shape: Sequence[int | None], hint: str = "") -> torch.Tensor:
    """Return ``tensor`` if it has the shape ``shape``, where ``None`` is any size and a leading ``-1`` any batch.

    Example:
        >>> check_shape("x", torch.zeros(4, 2), (None, 2)).shape
        torch.Size([4, 2])
    """
    if not isinstance(tensor, torch.Tensor):
        raise type_error(argument, expected="a torch.Tensor", got=tensor, hint=hint)
    wanted, actual = tuple(shape), tuple(tensor.shape)
    if wanted and wanted[0] == -1:
        wanted = wanted[1:]
        actual = actual[max(0, len(actual) - len(wanted)) :]
    if len(wanted) != len(actual) or any(w is not None and w != a for w, a in zip(wanted, actual, strict=True)):
        names = ", ".join("..." if w == -1 else "any" if w is None else str(w) for w in shape)
        raise value_error(argument, expected=f"a tensor of shape ({names})", got=tensor, hint=hint)
    return tensor


def check_tensors(
    argument: str, tensors: Any, shapes: Sequence[Sequence[int | None]], names: Sequence[str] | None = None
) -> list[torch.Tensor]:
    """Return a list of tensors of the given ``shapes``; messages refer to its entries by ``names`` or positions.

    Example:
        >>> [t.ndim for t in check_tensors("weights", [torch.zeros(3, 2), torch.zeros(3)], [(3, 2), (3,)])]
        [2, 1]
    """
    if not isinstance(tensors, (list, tuple, torch.nn.ParameterList)):
        raise type_error(argument, expected=f"a list of {len(shapes)} tensors", got=tensors)
    if len(tensors) != len(shapes):
        raise value_error(argument, expected=f"{len(shapes)} tensors", found=f"{len(tensors)}")
    keys = names or range(len(shapes))
    return [check_shape(f"{argument}[{k!r}]", t, s) for k, t, s in zip(keys, tensors, shapes, strict=True)]


def check_floating(argument: str, tensor: Any, hint: str = "") -> torch.Tensor:
    """Return ``tensor`` if it is dense and has a floating dtype of at least 16 bits; its values are not looked at."""
    good = isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.layout is torch.strided
    if not good or tensor.dtype.itemsize < 2:
        raise type_error(argument, expected="a dense floating tensor", got=tensor, hint=hint)
    found: torch.Tensor = tensor
    return found


def check_finite(argument: str, tensor: torch.Tensor, hint: str = "") -> torch.Tensor:
    """Return ``tensor`` if all its entries are finite; not for hot paths, since it synchronizes with the device."""
    if not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
        raise value_error(argument, expected="finite values", found="NaN or infinity among its entries", hint=hint)
    return tensor
