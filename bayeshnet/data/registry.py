"""The registry of streams, which configuration files and the command line refer to by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import check_callable, check_mapping, check_seed, check_text
from ..errors import check_choice, check_instance, value_error
from ..tasks import TaskStream
from .cifar import split_cifar10, split_cifar100
from .digits import permuted_digits, rotated_digits, split_digits
from .mnist import permuted_fashion_mnist, permuted_mnist, split_fashion_mnist, split_mnist
from .own import find_builder, is_own
from .sources.folders import image_folder
from .toy import modes2d, regression1d

__all__ = ["STREAMS", "StreamEntry", "drawn_options", "get_stream", "stream_entry", "stream_options"]


@dataclass(frozen=True)
class StreamEntry:
    """A stream in the registry.

    Args:
        builder: builds the stream; its keyword arguments are the stream's options.
        description: description in one line.
    """

    builder: Callable[..., TaskStream]
    description: str

    def __post_init__(self) -> None:
        """Check that there is something to call and to show."""
        check_callable("builder", self.builder, "a function that builds a stream")
        check_text("description", self.description)

    @property
    def needs_files(self) -> bool:
        """True if the builder reads files from a ``data_dir``."""
        return "data_dir" in inspect.signature(self.builder).parameters


STREAMS: dict[str, StreamEntry] = {
    "split-digits": StreamEntry(split_digits, "scikit-learn's 8x8 digits, five tasks of two"),
    "permuted-digits": StreamEntry(permuted_digits, "scikit-learn's 8x8 digits, pixels permuted, five tasks of ten"),
    "rotated-digits": StreamEntry(rotated_digits, "scikit-learn's 8x8 digits, images rotated, four tasks of ten"),
    "split-fashion-mnist": StreamEntry(split_fashion_mnist, "Fashion-MNIST from IDX files, five tasks of two classes"),
    "permuted-fashion-mnist": StreamEntry(permuted_fashion_mnist, "Fashion-MNIST, pixels permuted, ten tasks of ten"),
    "split-mnist": StreamEntry(split_mnist, "MNIST from IDX files, five tasks of two digits"),
    "permuted-mnist": StreamEntry(permuted_mnist, "MNIST, pixels permuted, ten tasks of ten"),
    "regression1d": StreamEntry(regression1d, "three polynomials on three intervals, 20 noisy points each"),
    "modes2d": StreamEntry(modes2d, "six Gaussian modes in the plane, three tasks of two"),
    "split-cifar10": StreamEntry(split_cifar10, "CIFAR-10 as downloaded by torchvision, five tasks of two"),
    "folder": StreamEntry(image_folder, "images from a folder with one folder for each class, tasks of two classes"),
    "split-cifar100": StreamEntry(split_cifar100, "CIFAR-100 as downloaded by torchvision, ten tasks of ten"),
}
"""Streams by name, as the command line knows them."""


def stream_entry(name: str) -> StreamEntry:
    """Return the stream of a name; the module of one of the caller's own (``module:function``) is imported.

    Raises:
        ValueError: if there is none.
    """
    if not is_own(name):
        return STREAMS[check_choice("name", name, STREAMS)]
    return StreamEntry(find_builder(name), "a stream of one's own")


def stream_options(name: str) -> dict[str, Any]:
    """Return the options of a stream and their defaults.

    Example:
        >>> stream_options("modes2d")["num_train"]
        10
    """
    parameters = inspect.signature(stream_entry(name).builder).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind not in several}


def drawn_options(name: str, seed: int, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the options of a stream that a seed draws: its ``data_seed`` and, of classes, their order.

    Seed 0 draws the stream's defaults: the classes in ascending order. Nothing is drawn if ``given`` has a
    ``data_seed``; an ``order`` that is given stays.

    Args:
        name: one of :data:`STREAMS`.
        seed: of the run.
        given: options that are set.

    Example:
        >>> drawn_options("split-digits", 3), drawn_options("split-digits", 0)
        ({'data_seed': 3, 'order': 'random'}, {'data_seed': 0})
        >>> drawn_options("split-digits", 3, {"data_seed": 1}), drawn_options("permuted-digits", 3)
        ({}, {'data_seed': 3})
    """
    known, given = stream_options(name), {} if given is None else check_mapping("given", given, "options, or None")
    seed = check_seed("seed", seed)
    if "data_seed" not in known or "data_seed" in given:
        return {}
    by_class = "order" in known and "classes_per_task" in known and "order" not in given
    return {"data_seed": seed, **({"order": "random"} if by_class and seed else {})}


def get_stream(name: str, **options: Any) -> TaskStream:
    """Build the stream of that name.

    Args:
        name: one of :data:`STREAMS`, or ``module:function`` for a function of one's own that returns a stream. Name a
            module that you trust: its code is run.
        options: options of the stream; those that it does not have are ignored if they are ``None``.

    Raises:
        ValueError: if the stream or an option does not exist; the message lists those that do.

    Example:
        >>> get_stream("split-digits", num_tasks=2).num_outputs
        2
    """
    known = stream_options(name)
    given = {key: value for key, value in options.items() if key in known or value is not None}
    for key in given:
        if key not in known:
            raise value_error(f"options of {name!r}", expected="one of " + ", ".join(known), got=key)
    lacking = [key for key, default in known.items() if default is inspect.Parameter.empty and key not in given]
    if lacking:
        flag = "--data-dir FOLDER" if lacking[0] == "data_dir" else f"--data-options.{lacking[0]} VALUE"
        advice = f"Give it as an option of the stream ({flag} on the command line)."
        raise value_error(f"options of {name!r}", expected=" and ".join(lacking), found="none", hint=advice)
    expected = f"a function that returns a TaskStream, where {name!r} does not"
    found: TaskStream = check_instance("data", stream_entry(name).builder(**given), TaskStream, expected)
    return found
