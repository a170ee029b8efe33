"""The share of this process in batches, samples, random numbers and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import check_int, value_error
from ..rng import derive_seed
from .current import processes

__all__ = [
    "SHARES",
    "average_step",
    "gathered",
    "own_count",
    "own_generator",
    "own_part",
    "own_rows",
    "shares_data",
    "shares_samples",
]

SHARES = ("data", "samples")
"""Things that processes may share: the examples, or the draws of the weights."""


def shares_data() -> bool:
    """Return whether there are several processes, each with a part of the examples."""
    return processes().size > 1 and processes().share == "data"


def shares_samples() -> bool:
    """Return whether there are several processes, each with draws of its own."""
    return processes().size > 1 and processes().share == "samples"


def own_part(argument: str, count: int) -> tuple[int, int]:
    """Return the range of this process among ``count`` examples: consecutive ones, in parts that differ by one at most.

    Args:
        argument: name of what has so many examples, for messages.
        count: number of examples; all of them for a process that is alone.

    Example:
        >>> own_part("batch_size", 5)
        (0, 5)
    """
    group = processes()
    if check_int(argument, count, 0) < group.size:
        expected = f"at least one example for each of the {group.size} processes"
        raise value_error(argument, expected=expected, got=count)
    return group.rank * count // group.size, (group.rank + 1) * count // group.size


def own_rows(batch: tuple[Any, ...]) -> tuple[tuple[Any, ...], float]:
    r"""Return this process's part of a batch, and the weight of means over it.

    With weights :math:`R\,B_r / B` the mean over the processes of their means is the mean over the batch.

    Args:
        batch: tensors ``(B, ...)``, or tuples of such.
    """
    count = _length(batch)
    start, stop = own_part("batch_size", count)
    return tuple(_rows(part, start, stop) for part in batch), processes().size * (stop - start) / count


def own_count(argument: str, count: int) -> int:
    """Return this process's part of ``count`` samples, all of them unless samples are shared out.

    Raises:
        ValueError: if the processes cannot have equal parts.

    Example:
        >>> own_count("num_samples", 7)
        7
    """
    if not shares_samples():
        return count
    size = processes().size
    if count % size:
        raise value_error(argument, expected=f"a multiple of the {size} processes that share samples", got=count)
    return count // size


def own_generator(generator: torch.Generator | None) -> torch.Generator | None:
    """Return a generator of this process's own draws, derived from one that all processes have; None for None alone.

    Raises:
        ValueError: if there are several processes and no generator that all of them have.
    """
    if generator is None:
        expected = "a generator that is seeded alike in all processes"
        raise value_error("generator", expected=expected, got=None)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device=generator.device).manual_seed(derive_seed(seed, processes().rank))


def gathered(x: Tensor) -> Tensor:
    """Return samples ``(K, ...)`` of all processes if they share samples out, ``(R K, ...)``, else ``x`` itself."""
    return processes().gather(x) if shares_samples() else x


def average_step(gradients: Sequence[Tensor], record: Any) -> Any:
    """Replace gradients by their means over the processes, and return the mean of the record of a step.

    Args:
        gradients: of all parameters that have one.
        record: numbers of the step, a tensor or a list of numbers.
    """
    if processes().size == 1:
        return record
    first = gradients[0]
    row = torch.as_tensor(record, dtype=first.dtype, device=first.device).detach().clone()
    processes().average([*gradients, row])
    return row if isinstance(record, Tensor) else row.tolist()


def _length(part: Any) -> int:
    return len(part) if isinstance(part, Tensor) else _length(part[0])


def _rows(part: Any, start: int, stop: int) -> Any:
    return part[start:stop] if isinstance(part, Tensor) else tuple(_rows(each, start, stop) for each in part)
