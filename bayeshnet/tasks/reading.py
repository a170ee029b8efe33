"""Inputs that stay in a map-style data set, and are read when they are asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from ..errors import check_int, describe, type_error, value_error

__all__ = ["DatasetInputs", "ExampleLoader", "device_of", "is_map_style", "positions", "shapes_of", "stored_targets"]

_NO_DATASETS = (Tensor, str, bytes, Mapping, list, tuple, set, IterableDataset)


def is_map_style(value: Any) -> bool:
    """Return whether ``value`` is a map-style data set: it has a length and gives examples by number."""
    if isinstance(value, (*_NO_DATASETS, type)) or hasattr(value, "__array__"):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def shapes_of(x: Any) -> Any:
    """Return the shape of one input of a batch, or one shape for each of several inputs."""
    return tuple(tuple(part.shape[1:]) for part in x) if isinstance(x, tuple) else tuple(x.shape[1:])


def device_of(x: Any) -> torch.device:
    """Return the device of inputs."""
    found: torch.device = x[0].device if isinstance(x, tuple) else x.device
    return found


def positions(index: Any, size: int) -> list[int]:
    """Return numbers of examples that a slice, a mask, or numbers choose among ``size``."""
    if isinstance(index, slice):
        return list(range(*index.indices(size)))
    chosen = torch.as_tensor(index)
    chosen = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen
    numbers: list[int] = chosen.tolist()
    return numbers


class DatasetInputs:
    """Inputs of a map-style data set of ``(x, y)`` pairs; ``inputs[index]`` reads those of a slice, a mask or numbers.

    Nothing is kept in memory but the shape of the first input, which all others must have.

    Args:
        dataset: gives a pair by number: ``x`` is a tensor, an array, or a tuple of several inputs.
        device: of the inputs that are read; None for that of the data set.
        dtype: of floating inputs; None for that of the data set.

    Attributes:
        shapes: shape of one input, or a tuple of shapes if there are several.

    Raises:
        ValueError: if there is no example, or the first one cannot be read.

    Example:
        >>> inputs = DatasetInputs(TensorDataset(torch.arange(6.0).reshape(3, 2), torch.arange(3)))
        >>> len(inputs), inputs.shapes, inputs[1:]
        (3, (2,), tensor([[2., 3.],
                [4., 5.]]))
    """

    def __init__(
        self, dataset: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        if not is_map_style(dataset):
            raise type_error("dataset", expected="a map-style data set (with __len__ and __getitem__)", got=dataset)
        if len(dataset) == 0:
            raise value_error("data", expected="at least one example in each split of a task", found="none")
        self.dataset, self._device, self._dtype = dataset, device, dtype
        self._numbers: list[int] | None = None
        self.shapes: Any = None
        first = _stacked([self.example(0)[0]])
        self.shapes, self._own_device = shapes_of(first), device_of(first)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.dataset)

    def __repr__(self) -> str:
        """Show the data set and the shape of an input."""
        return f"DatasetInputs({type(self.dataset).__name__}, {len(self)} x {self.shapes})"

    def __getitem__(self, index: Any) -> Any:
        """Read inputs ``(N, *input_shape)``, or a tuple of several; of a single number, one input."""
        if isinstance(index, int):
            return self.placed(self.example(index)[0])
        numbers = positions(index, len(self))
        read = _stacked([self.example(i)[0] for i in numbers or [0]])
        return self.placed(read if numbers else _map(lambda t: t[:0], read))

    @property
    def device(self) -> torch.device:
        """Device of the inputs that are read."""
        return self._own_device if self._device is None else torch.empty(0, device=self._device).device

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> DatasetInputs:
        """Return the inputs on another device or with another dtype."""
        other = copy.copy(self)
        other._device, other._dtype = device or self._device, dtype or self._dtype
        return other

    def subset(self, index: Any) -> DatasetInputs:
        """Return some of the inputs, which stay in the data set."""
        numbers, other = positions(index, len(self)), copy.copy(self)
        if type(self.dataset) is Subset:
            other.dataset = Subset(self.dataset.dataset, [self.dataset.indices[i] for i in numbers])
        else:
            other.dataset = Subset(self.dataset, numbers)
        other._numbers = numbers if self._numbers is None else [self._numbers[i] for i in numbers]
        return other

    def placed(self, x: Any, move: bool = True) -> Any:
        """Return inputs with the dtype, and on the device, that were asked for."""
        device = self._device if move else None
        return _map(lambda t: t.to(device=device, dtype=self._dtype if t.is_floating_point() else None), x)

    def example(self, number: int) -> tuple[Any, Any]:
        """Read one example as tensors, with its target as the data set gives it.

        Raises:
            ValueError: if it cannot be read, is no pair, or is of another shape; the message has its number in the data
                set that was given and, where that knows it, the name of its file.
        """
        try:
            pair = self.dataset[number]
        except MemoryError:
            raise
        except Exception as error:  # whatever a data set of the user raises
            if ": expected " in str(error):  # a message of this library says it better
                raise
            found = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise value_error(self._name(number), expected="an example that can be read", found=found) from error
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            advice = "Rows that are dicts are read by bayeshnet.data.DictRows."
            raise type_error(self._name(number), expected="a pair (x, y)", got=pair, hint=advice)
        x = self._tensors(pair[0], number)
        shapes = _map(lambda t: tuple(t.shape), x)
        if self.shapes is not None and shapes != self.shapes:
            expected = f"an input of shape {self.shapes}, as that of example 0"
            raise value_error(self._name(number), expected=expected, found=f"one of shape {shapes}")
        return x, pair[1]

    def _tensors(self, x: Any, number: int) -> Any:
        parts = tuple(x) if isinstance(x, (tuple, list)) and all(hasattr(part, "dtype") for part in x) else None
        try:
            found = torch.as_tensor(x) if not parts else tuple(torch.as_tensor(part) for part in parts)
        except (TypeError, ValueError, RuntimeError) as error:
            advice = "Give the data set a transform that makes tensors, such as torchvision's ToTensor."
            got = describe(x)
            raise type_error(
                self._name(number), expected="an input that is a tensor", found=got, hint=advice
            ) from error
        for tensor in found if isinstance(found, tuple) else (found,):
            if tensor.is_complex() or tensor.layout is not torch.strided:
                raise type_error(self._name(number), expected="dense tensors of real numbers", got=tensor)
        return found

    def _name(self, number: int) -> str:
        dataset: Any = self.dataset
        where = f"data, example {number if self._numbers is None else self._numbers[number]}"
        while isinstance(dataset, Subset):
            number = int(dataset.indices[number])
            dataset = dataset.dataset
        samples = getattr(dataset, "samples", None)
        if isinstance(samples, (list, tuple)) and number < len(samples) and isinstance(samples[number], tuple):
            where += f" ({str(samples[number][0])!r})"
        return where


def _map(function: Any, x: Any) -> Any:
    return tuple(function(part) for part in x) if isinstance(x, tuple) else function(x)


def _stacked(inputs: Sequence[Any]) -> Any:
    if isinstance(inputs[0], tuple):
        return tuple(torch.stack(parts) for parts in zip(*inputs, strict=True))
    return torch.stack(list(inputs))


def stored_targets(dataset: Any) -> Tensor | None:
    """Return the targets that a data set knows without reading its inputs: ``targets`` or ``labels``; else None.

    A data set with a ``target_transform`` is read instead, since its targets may be those before it.
    """
    if isinstance(dataset, Subset):
        inner = stored_targets(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(list(dataset.indices), dtype=torch.long)]
    if isinstance(dataset, ConcatDataset):
        parts = [stored_targets(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return dataset.tensors[1]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for name in ("targets", "labels"):
        try:
            found = torch.as_tensor(getattr(dataset, name, None))
        except (TypeError, ValueError, RuntimeError):
            continue
        if found.ndim and len(found) == len(dataset):
            return found
    return None


@dataclass(frozen=True)
class _Unread:
    """A message of what went wrong, which a worker hands back in place of a batch."""

    message: str
    is_type: bool = False


class _Examples(Dataset[Any]):
    """Pairs of an input and its target, or a message."""

    def __init__(self, inputs: DatasetInputs, y: Tensor) -> None:
        self.inputs, self.y = inputs, y.cpu()

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.inputs.example(number)[0], self.y[number]
        except (ValueError, TypeError) as error:
            return _Unread(str(error), isinstance(error, TypeError))

    def joined(self, examples: Sequence[Any]) -> Any:
        unread = [example for example in examples if isinstance(example, _Unread)]
        if unread:
            return unread[0]
        x, y = zip(*examples, strict=True)
        return self.inputs.placed(_stacked(x), move=False), torch.stack(y)


class ExampleLoader:
    """Batches of inputs that are read from a data set, and of their targets, by a ``DataLoader``; each pass is anew.

    An example that cannot be read, also in a worker, raises a ``ValueError`` with its number.

    Args:
        inputs: the inputs.
        y: targets, one for each.
        batch_size: examples per batch.
        shuffled: True for another order in each pass, without the remainder.
        generator: of the order.
        num_workers: number of processes that read; 0 reads in this one.
    """

    def __init__(
        self,
        inputs: DatasetInputs,
        y: Tensor,
        batch_size: int,
        *,
        shuffled: bool = False,
        generator: torch.Generator | None = None,
        num_workers: int = 0,
    ) -> None:
        examples = _Examples(inputs, y)
        workers = check_int("num_workers", num_workers, 0)
        self.loader: DataLoader[Any] = DataLoader(
            examples,
            batch_size,
            shuffle=shuffled,
            drop_last=shuffled,
            generator=generator if generator is not None else torch.Generator().manual_seed(0),
            collate_fn=examples.joined,
            num_workers=workers,
            persistent_workers=workers > 0 and shuffled,
        )

    def __len__(self) -> int:
        """Return the number of batches of a pass."""
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        """Iterate over the batches of a pass."""
        for batch in self.loader:
            if isinstance(batch, _Unread):
                raise (TypeError if batch.is_type else ValueError)(batch.message)
            yield batch
