"""Inputs of a network, a tensor or a tuple of several, as one thing that has a length and can be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import describe, type_error, value_error
from ..tasks.reading import DatasetInputs, device_of, shapes_of
from .parts.images import ImageClassifier

__all__ = [
    "Inputs",
    "check_network",
    "device_of",
    "floating_like",
    "inputs_match",
    "is_dense",
    "join_inputs",
    "map_tensors",
    "num_examples",
    "settle_layout",
    "split_inputs",
    "take",
]

Inputs = Tensor | tuple[Tensor, ...]
"""Inputs ``(N, ...)``, or a tuple of several with one row per example each, which become arguments of the network."""


def num_examples(x: Any, argument: str = "x") -> int:
    """Return the number ``N`` of examples in inputs; refuse what is neither a tensor nor a tuple of tensors.

    Example:
        >>> num_examples((torch.zeros(5, 3), torch.zeros(5, 2)))
        5
    """
    parts = x if isinstance(x, tuple) else (x,)
    if not parts or not all(isinstance(part, Tensor) and part.ndim > 0 for part in parts):
        expected = "inputs (N, ...), or a tuple of several such tensors"
        raise type_error(argument, expected=expected, got=x)
    sizes = {len(part) for part in parts}
    if len(sizes) > 1:
        expected = "a tuple of inputs with one row per example each"
        raise value_error(argument, expected=expected, found="lengths " + ", ".join(str(len(p)) for p in parts))
    return sizes.pop()


def floating_like(x: Any) -> Tensor:
    """Return a tensor with the dtype and on the device of the outputs for inputs, of which some may be integers.

    Example:
        >>> floating_like((torch.arange(3), torch.zeros(3, 2, dtype=torch.float64))).dtype
        torch.float64
    """
    some = x[:1] if isinstance(x, DatasetInputs) else x
    parts = some if isinstance(some, tuple) else (some,)
    found: Tensor | None = next((part for part in parts if part.is_floating_point()), None)
    return torch.empty(0, device=parts[0].device) if found is None else found


def join_inputs(parts: Sequence[Any]) -> Any:
    """Return inputs one after the other."""
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))
    return torch.cat(list(parts))


def is_dense(x: Any) -> bool:
    """Return whether inputs are floating numbers in one tensor, for which there are densities and pseudo-outliers."""
    return isinstance(x, Tensor) and x.is_floating_point()


def inputs_match(x: Any, shape: Any) -> bool:
    """Return whether inputs have the shape of one input, or of each of several."""
    several = bool(shape) and isinstance(shape[0], tuple)
    if isinstance(x, tuple) != several:
        return False
    parts = x if several else (x,)
    known = isinstance(parts, tuple) and all(isinstance(part, Tensor) and part.ndim > 0 for part in parts)
    return known and shapes_of(x) == shape


def take(x: Any, index: Any) -> Any:
    """Return the examples ``index`` (a slice or a tensor) of inputs."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]


def split_inputs(x: Inputs, size: int | list[int]) -> tuple[Any, ...]:
    """Split inputs into chunks of at most ``size`` examples, or of the sizes in a list.

    Example:
        >>> [len(part[0]) for part in split_inputs((torch.zeros(5, 3), torch.zeros(5, 2)), 2)]
        [2, 2, 1]
    """
    if isinstance(x, tuple):
        return tuple(zip(*(part.split(size) for part in x), strict=True))
    found: tuple[Any, ...] = x.split(size)
    return found


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply ``function`` to all tensors of a nest of tuples, lists and dicts; lists become tuples.

    Example:
        >>> map_tensors(torch.exp, [torch.zeros(1), {"a": torch.zeros(1), "b": "text"}])
        (tensor([1.]), {'a': tensor([1.]), 'b': 'text'})
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map_tensors(function, entry) for entry in value)
    return value


def settle_layout(net: nn.Module, layout: str | None) -> None:
    """Let all image classifiers in a network read inputs in the layout of the data, in place.

    Args:
        net: the network.
        layout: of the data: ``"HWC"``, ``"CHW"``, or None where the data do not say.

    Raises:
        ValueError: if one of them was made for another layout.
    """
    if layout is None:
        return
    for part in net.modules():
        if isinstance(part, ImageClassifier):
            part.read_as(layout)


@torch.no_grad()
def check_network(net: Any, x: Any) -> Any:
    """Run a main network once, with zero weights on two examples of ``x``, and refuse inputs that it does not take.

    Neither the state of random generators nor that of the network changes, if this is in evaluation mode.

    Returns:
        Its outputs.
    """
    some = take(x, slice(0, 2))
    like = floating_like(some)
    weights = net.weight_spec.split(torch.zeros(net.weight_spec.numel, dtype=like.dtype, device=like.device))
    try:
        with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
            return net(some, weights=weights)
    except Exception as error:
        if ": expected " in str(error):  # A message of this library says it better.
            raise
        found = f"{type(error).__name__}: {error}"
        parts = some if isinstance(some, tuple) else (some,)
        tokens = "Long" in found or not all(part.is_floating_point() for part in parts)
        advice = "Tokens and other integers are for networks with embeddings: see Split and from_arrays(tokens=True)."
        hint = advice if tokens else ""
        raise value_error("network", expected=f"one that takes {describe(some)}", found=found, hint=hint) from error
