"""Split: the examples of one part of a task, in memory or in a data set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checks import check_device, check_dtype
from ..errors import check_int, type_error, value_error
from .reading import DatasetInputs, ExampleLoader, is_map_style, shapes_of, stored_targets

__all__ = ["Split", "check_place", "moved"]


@dataclass(frozen=True)
class Split:
    """Inputs ``x`` ``(N, *input_shape)`` and targets ``y``: class indices ``(N,)``, or values ``(N, C)``.

    Integer and boolean targets become ``int64``. Integer inputs, such as tokens, stay integers.

    Args:
        x: a tensor; a tuple of several inputs with a row per example each; or a map-style data set of ``(x, y)`` pairs
            (a ``torch.utils.data.Dataset``, or anything with ``__len__`` and ``__getitem__``), whose examples are read
            when they are needed and are not kept. Rows that are dicts, arrays on disk and folders of images are made
            into such data sets in :mod:`bayeshnet.data`.
        y: targets. Those of a data set may be left out: they are then its attribute ``targets`` or ``labels``, or, if
            it has neither, read in one pass.

    Attributes:
        x: the tensor or tuple, or :class:`~bayeshnet.tasks.DatasetInputs`, which are read by ``x[index]``.

    Raises:
        ValueError: for no example, other numbers of targets than of inputs, and examples that cannot be read.
        TypeError: for what is no tensor and no data set.

    Example:
        >>> Split(torch.randn(2, 3), torch.tensor([True, False])).y
        tensor([1, 0])
        >>> Split(torch.utils.data.TensorDataset(torch.randn(5, 3), torch.arange(5) % 2))
        Split(x=DatasetInputs(TensorDataset, 5 x (3,)), y=tensor(5,))
    """

    x: Any
    y: Any = None

    def __post_init__(self) -> None:
        """Refuse empty and mismatched tensors; find the targets of a data set."""
        if is_map_style(self.x) and not isinstance(self.x, DatasetInputs):
            object.__setattr__(self, "x", DatasetInputs(self.x))
        if isinstance(self.x, DatasetInputs) and self.y is None:
            object.__setattr__(self, "y", _read_targets(self.x))
        parts = self.x if isinstance(self.x, tuple) and self.x else (self.x,)
        if not isinstance(self.y, Tensor) or not all(isinstance(p, (Tensor, DatasetInputs)) for p in parts):
            found = f"{type(self.x).__name__} and {type(self.y).__name__}"
            advice = "x may be a tuple of several tensors, or a map-style data set."
            raise type_error("x and y", expected="tensors", found=found, hint=advice)
        for part in (*(p for p in parts if isinstance(p, Tensor)), self.y):
            if part.ndim == 0:
                raise value_error("x and y", expected="one row per example", found="a tensor without dimensions")
            if part.is_complex():
                raise type_error("x and y", expected="real tensors", found="complex ones")
        if len({len(part) for part in parts}) > 1:
            lengths = ", ".join(str(len(part)) for part in parts)
            raise value_error("x", expected="several inputs with one row per example each", found=f"lengths {lengths}")
        if len(parts[0]) != len(self.y):
            raise value_error("y", expected=f"as many targets as inputs ({len(parts[0])})", found=f"{len(self.y)}")
        if len(self.y) == 0:
            raise value_error("x", expected="at least one example in each split of a task", found="none")
        if not self.y.is_floating_point() and self.y.dtype != torch.int64:
            object.__setattr__(self, "y", self.y.to(torch.int64))

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.y)

    def __repr__(self) -> str:
        """Show the shapes."""
        shapes = [f"tensor{tuple(p.shape)}" for p in self.x] if isinstance(self.x, tuple) else []
        one = f"tensor{tuple(self.x.shape)}" if isinstance(self.x, Tensor) else repr(self.x)
        return f"Split(x={'(' + ', '.join(shapes) + ')' if shapes else one}, y=tensor{tuple(self.y.shape)})"

    @property
    def in_memory(self) -> bool:
        """True for tensors, False for examples that are read from a data set."""
        return not isinstance(self.x, DatasetInputs)

    @property
    def input_shape(self) -> Any:
        """Shape of one input, or a tuple of shapes if there are several."""
        return self.x.shapes if isinstance(self.x, DatasetInputs) else shapes_of(self.x)

    def select(self, index: Any) -> Split:
        """Return the examples of a slice, a mask or numbers; those of a data set stay there.

        Example:
            >>> Split(torch.arange(4.0), torch.arange(4)).select(torch.tensor([3, 0])).x
            tensor([3., 0.])
        """
        if isinstance(self.x, DatasetInputs):
            return Split(self.x.subset(index.cpu() if isinstance(index, Tensor) else index), self.y[index])
        return Split(tuple(p[index] for p in self.x) if isinstance(self.x, tuple) else self.x[index], self.y[index])

    def load(self) -> Split:
        """Return the examples in memory."""
        return self if self.in_memory else Split(self.x[:], self.y)

    def sample(self, most: int, seed: int = 0) -> Split:
        """Return the examples if they are tensors, else a random choice of at most ``most`` of them, in memory.

        Args:
            most: largest number of examples that are read. No more are read than fill 2**26 numbers.
            seed: of the choice.
        """
        if self.in_memory:
            return self
        shapes = self.input_shape if isinstance(self.x[:1], tuple) else (self.input_shape,)
        numbers = max(1, sum(math.prod(shape) for shape in shapes))
        count = max(1, min(check_int("most", most, 1), 2**26 // numbers, len(self)))
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        return self.select(chosen.to(self.y.device)).load()

    def chunks(self, size: int = 1000, num_workers: int = 0) -> Iterator[Split]:
        """Iterate over all examples in order, in memory ``size`` at a time.

        Args:
            size: number of examples.
            num_workers: processes that read a data set; 0 reads in this one.
        """
        check_int("size", size, 1)
        if not isinstance(self.x, DatasetInputs):
            yield from (self.select(slice(i, i + size)) for i in range(0, len(self), size))
            return
        for x, y in ExampleLoader(self.x, self.y, size, num_workers=num_workers):
            yield Split(self.x.placed(x), y.to(self.y.device))

    def with_targets(self, y: Tensor) -> Split:
        """Return the same inputs with other targets."""
        return Split(self.x, y)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Split:
        """Return the split on another device or with another dtype, which applies to floating tensors only."""
        check_place(device, dtype)
        if isinstance(self.x, DatasetInputs):
            return Split(self.x.to(device, dtype), moved(self.y, device, dtype))
        x = (
            tuple(moved(p, device, dtype) for p in self.x)
            if isinstance(self.x, tuple)
            else moved(self.x, device, dtype)
        )
        return Split(x, moved(self.y, device, dtype))


def _read_targets(inputs: DatasetInputs) -> Tensor:
    """Return the targets that a data set knows, or read them all."""
    known = stored_targets(inputs.dataset)
    if known is not None:
        return known
    try:
        return torch.stack([torch.as_tensor(inputs.example(i)[1]) for i in range(len(inputs))])
    except (TypeError, RuntimeError) as error:
        if ": expected " in str(error):
            raise
        raise type_error(
            "data", expected="targets that are numbers, or arrays of one shape", found=str(error)
        ) from error


def check_place(device: Any, dtype: Any) -> None:
    """Refuse a device that is not there, and what is no floating dtype."""
    check_device("device", device)
    check_dtype("dtype", dtype)


def moved(t: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    """Return a tensor on another device, and with another dtype if it is floating."""
    return t.to(device=device, dtype=dtype if t.is_floating_point() else None)
