"""Arguments of builders of streams: options that all of them have, pairs of arrays, datasets read into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..checks import check_data, check_items, check_mapping, check_seed, check_text
from ..errors import (
    check_choice,
    check_finite,
    check_flags,
    check_int,
    check_number,
    check_size,
    describe,
    type_error,
    value_error,
)
from ..tasks import SCENARIOS, Split

__all__ = ["check_common", "check_options", "named_data", "names_of", "pair", "read_dataset"]


def check_common(name: Any, info: Any, outliers: Any, data_seed: Any = 0) -> int:
    """Check options that all builders have, and return the seed."""
    check_text("name", name, "the name of the stream")
    if info is not None:
        check_mapping("info", info, "a mapping, or None")
    if outliers is not None:
        expected = "a mapping from names to tensors of inputs, or None"
        for key, x in check_mapping("outliers", outliers, expected, Tensor).items():
            check_finite(f"outliers {key!r}", check_data(f"outliers {key!r}", x))
    return check_seed("data_seed", data_seed)


def names_of(class_names: Any, available: Sequence[int]) -> Sequence[str]:
    """Return the names of all classes."""
    if class_names is None:
        return [str(label) for label in available]
    letters = isinstance(class_names, str)  # a text is a sequence of names of one letter
    names = check_items("class_names", tuple(class_names) if letters else class_names, "a list of texts", str)
    if len(names) != len(available):
        shown = ", ".join(map(str, available[:8])) + (", ..." if len(available) > 8 else "")
        expected = f"{len(available)} names, one for each of the labels {shown}"
        raise value_error("class_names", expected=expected, got=class_names)
    return names


def pair(x: Tensor, y: Tensor, where: str) -> Split:
    """Return inputs and targets of one length, at least one, as a split."""
    if len(x) != len(y) or not len(x):
        raise value_error(where, expected="as many targets as inputs, at least one", found=f"{len(x)} and {len(y)}")
    return Split(x, y)


def read_dataset(dataset: Any, name: str) -> tuple[Tensor, Tensor]:
    """Read a map-style dataset of ``(x, y)`` pairs into memory; ``name`` is that of the argument."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise type_error(name, expected="a map-style dataset (with __len__ and __getitem__)", got=dataset)
    try:
        pairs = [dataset[i] for i in range(len(dataset))]
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        found = f"{describe(dataset)}, which fails ({type(error).__name__}: {error})"
        raise value_error(name, expected="a dataset that gives its pairs by number", found=found) from error
    if not pairs or not isinstance(pairs[0], (tuple, list)) or len(pairs[0]) != 2:
        raise value_error(name, expected="(x, y) pairs, at least one", got=dataset)
    try:
        return torch.stack([torch.as_tensor(x) for x, _ in pairs]), torch.stack([torch.as_tensor(y) for _, y in pairs])
    except (TypeError, ValueError, RuntimeError) as error:
        advice = "Give the dataset a transform that makes tensors, such as torchvision's ToTensor."
        expected = "pairs of tensors of one shape"
        raise value_error(name, expected=expected, found=str(error), hint=advice) from error


def check_options(
    *,
    scenario: Any = "class",
    num_tasks: Any = None,
    classes_per_task: Any = 1,
    order: Any = None,
    fractions: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    **flags: Any,
) -> None:
    """Check options of builders before files are read.

    Args:
        scenario: option of that name.
        num_tasks: option of that name.
        classes_per_task: option of that name.
        order: option of that name.
        fractions: options that are numbers from 0 to 1.
        limits: options that are largest numbers of examples, or None.
        flags: options that are True or False.
    """
    check_choice("scenario", scenario, SCENARIOS)
    check_flags(**flags)
    check_size("classes_per_task", classes_per_task)
    if num_tasks is not None:
        check_size("num_tasks", num_tasks)
    if isinstance(order, str):
        check_choice("order", order, ("random",), "Or give the labels or numbers in the order wanted.")
    elif order is not None:
        for entry in check_items("order", order, "a list of labels or numbers, or 'random'"):
            check_int("order", entry)
    for argument, fraction in (fractions or {}).items():
        check_number(argument, fraction, 0.0, 1.0)
    for argument, limit in (limits or {}).items():
        if limit is not None:
            check_int(argument, limit, 1)


@contextmanager
def named_data(argument: str) -> Iterator[None]:
    """Name an argument in messages about the arrays that were made of it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        beginning, colon, rest = str(error).partition(": expected ")
        if not colon or not beginning.startswith(("tasks", "x", "y")):
            raise
        raise type(error)(f"{argument}, {beginning}{colon}{rest}") from error.__cause__
