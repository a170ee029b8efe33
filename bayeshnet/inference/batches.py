"""Batches of data for the training loop: shuffled tensors, data sets or loaders, in an order that can be reproduced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SubsetRandomSampler, TensorDataset

from ..errors import check_int, type_error, value_error
from ..mnets.inputs import device_of, map_tensors, num_examples, take
from ..tasks import DatasetInputs, Split
from ..tasks.reading import ExampleLoader

__all__ = ["LoaderBatches", "TensorBatches", "as_batch", "make_batches"]

Batch = tuple[Any, ...]
"""Arguments of model and guide: tensors, or tuples of tensors such as several inputs."""


class TensorBatches:
    """Batches of tensors ``(N, ...)`` of one size; each epoch is a new permutation, and its remainder is left out.

    The examples of the remainder change from epoch to epoch, so that none is preferred.

    Args:
        tensors: of one length, or tuples of such.
        batch_size: examples per batch; None, or ``N`` and more, for all of them in the given order.
        generator: of the order.
    """

    def __init__(
        self, tensors: Sequence[Any], batch_size: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        self.tensors = tuple(tensors)
        lengths = {num_examples(t, "data") for t in self.tensors}
        if len(lengths) != 1:
            raise value_error("data", expected="tensors of one length", found=f"lengths {sorted(lengths)}")
        self.num_data = lengths.pop()
        if self.num_data == 0:
            raise value_error("data", expected="at least one example", found="none")
        size = self.num_data if batch_size is None else check_int("batch_size", batch_size, 1)
        self.batch_size = min(size, self.num_data)
        self.generator = generator
        self._order: Tensor | None = None
        self._position = 0

    @property
    def per_epoch(self) -> int:
        """Batches per epoch."""
        return self.num_data // self.batch_size

    def next(self) -> Batch:
        """Return the next batch."""
        if self.batch_size == self.num_data:
            return self.tensors
        if self._order is None or self._position + self.batch_size > self.num_data:
            device = self.generator.device if self.generator is not None else None
            order = torch.randperm(self.num_data, generator=self.generator, device=device)
            self._order, self._position = order.to(device_of(self.tensors[0])), 0
        index = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return tuple(take(t, index) for t in self.tensors)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the current epoch."""
        return {"order": self._order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume at the position of another run."""
        order = state["order"]
        self._order = None if order is None else order.to(device_of(self.tensors[0]))
        self._position = state["position"]


class LoaderBatches:
    """Batches from an iterable such as a ``DataLoader``, which is restarted each epoch and determines their order.

    Args:
        loader: iterable of batches: tensors, tuples, dicts.
        num_data: size of the data set; None if it is not known.

    Attributes:
        per_epoch: batches per epoch; None if the loader has no length.
    """

    def __init__(self, loader: Iterable[Any], num_data: int | None = None) -> None:
        self.loader = loader
        self.num_data = num_data
        self.per_epoch = _length(loader)
        self._iterator: Iterator[Any] | None = None

    def next(self) -> Batch:
        """Return the next batch."""
        for _ in range(2):
            batch = self._read()
            if batch is not None:
                return as_batch(batch)
            self._iterator = None
        raise _no_batch()

    def _read(self) -> Any:
        """Return the next batch of this epoch, or None at its end; name the data where examples cannot be joined."""
        try:
            if self._iterator is None:
                self._iterator = iter(self.loader)
            return next(self._iterator, None)
        except (RuntimeError, TypeError) as error:
            if ": expected " in str(error):  # a message of this library says it better
                raise
            found = f"a loader that raises {type(error).__name__}: {error}"
            expected = "examples that can be read and joined to batches"
            raise value_error("data", expected=expected, found=found) from error

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: a loader is restarted."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: a loader is restarted."""


def as_batch(value: Any) -> Batch:
    """Return what a loader or a transform yields as arguments; a dict is one argument, and lists become tuples."""
    found: Batch = map_tensors(lambda t: t, value if isinstance(value, (tuple, list)) else (value,))
    return found


def make_batches(
    data: Any, batch_size: int | None = None, generator: torch.Generator | None = None, num_workers: int = 0
) -> TensorBatches | LoaderBatches | None:
    """Make batches of a :class:`~bayeshnet.tasks.Split`, tensors, a ``Dataset`` or a ``DataLoader``, if given."""
    check_int("num_workers", num_workers, 0)
    if data is None:
        return None
    if batch_size is not None:
        check_int("batch_size", batch_size, 1)
    if isinstance(data, Split):
        if isinstance(data.x, DatasetInputs):
            return _read_batches(data.x, data.y, batch_size, generator, num_workers)
        return TensorBatches((data.x, data.y), batch_size, generator)
    if isinstance(data, Tensor):
        return TensorBatches((data,), batch_size, generator)
    if isinstance(data, TensorDataset):
        return TensorBatches(data.tensors, batch_size, generator)
    if isinstance(data, (tuple, list)):
        if not data or not all(_is_tensor(t) or (_is_tuple(t) and all(map(_is_tensor, t))) for t in data):
            expected = "tensors (x, y) of one length, where x may be a tuple of several inputs"
            raise type_error("data", expected=expected, got=data)
        return TensorBatches(as_batch(data), batch_size, generator)
    if isinstance(data, Dataset):
        return _dataset_batches(data, batch_size, generator, num_workers)
    if isinstance(data, DataLoader):
        if batch_size is not None:
            raise value_error("batch_size", expected="None with a DataLoader, which has its own", got=batch_size)
        loader = LoaderBatches(data, _examples_of(data))
        if loader.per_epoch == 0:
            raise _no_batch()
        return loader
    raise type_error("data", expected="(x, y), a Split, a Dataset or a DataLoader", got=data)


def _read_batches(
    x: DatasetInputs, y: Tensor, batch_size: int | None, generator: torch.Generator | None, num_workers: int
) -> LoaderBatches:
    """Return shuffled batches of examples that are read from a data set."""
    size = len(x) if batch_size is None else min(batch_size, len(x))
    seed = int(torch.randint(2**62, (), generator=generator, device=None if generator is None else generator.device))
    order = torch.Generator().manual_seed(seed)
    loader = ExampleLoader(x, y, size, shuffled=True, generator=order, num_workers=num_workers)
    return LoaderBatches(loader, len(x))


def _dataset_batches(
    data: Dataset[Any], batch_size: int | None, generator: torch.Generator | None, num_workers: int = 0
) -> LoaderBatches:
    """Return shuffled batches of a data set of at most its size, or those of a stream in its own order."""
    if isinstance(data, IterableDataset):
        if batch_size is None:
            advice = "Give batch_size, or a DataLoader."
            raise value_error("batch_size", expected="a number with an IterableDataset", got=None, hint=advice)
        return LoaderBatches(DataLoader(data, batch_size, num_workers=num_workers), _length(data))
    total = _length(data)
    if not total:
        found = "none" if total == 0 else "a Dataset without __len__"
        raise value_error("data", expected="at least one example, and a known number of them", found=found)
    size = total if batch_size is None else min(batch_size, total)
    order = generator if generator is None or generator.device.type == "cpu" else None
    workers: dict[str, Any] = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    return LoaderBatches(DataLoader(data, size, shuffle=True, drop_last=True, generator=order, **workers), total)


def _examples_of(loader: DataLoader[Any]) -> int | None:
    """Return the number of examples that a loader goes through; None if it is not known."""
    if isinstance(loader.dataset, IterableDataset):
        return _length(loader.dataset)
    sampler: Any = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    if isinstance(sampler, SubsetRandomSampler):
        return len(sampler)
    # Without batches of its own, a loader may yield data that are batches already, of unknown size.
    whole = loader.batch_sampler is None and not isinstance(loader.sampler, BatchSampler)
    return None if whole else _length(loader.dataset)


def _length(value: Any) -> int | None:
    try:
        return len(value)
    except TypeError:
        return None


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _is_tuple(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) > 0


def _no_batch() -> ValueError:
    advice = "Is the data set smaller than a batch (drop_last=True)?"
    return value_error("data", expected="at least one batch per epoch", found="an empty loader", hint=advice)
