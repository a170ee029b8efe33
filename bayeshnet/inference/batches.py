"""Batches of data for the training loop: shuffled tensors, data sets or loaders, in an order that can be reproduced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ..errors import check_int, type_error, value_error
from ..tasks import Split

__all__ = ["LoaderBatches", "TensorBatches", "make_batches"]

Batch = tuple[Tensor, ...]


class TensorBatches:
    """Batches of tensors ``(N, ...)`` of one size; each epoch is a new permutation, and its remainder is left out.

    The examples of the remainder change from epoch to epoch, so that none is preferred.

    Args:
        tensors: of one length.
        batch_size: examples per batch; None, or ``N`` and more, for all of them in the given order.
        generator: of the order.
    """

    def __init__(
        self, tensors: Sequence[Tensor], batch_size: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        self.tensors = tuple(tensors)
        lengths = {len(t) for t in self.tensors}
        if len(lengths) != 1:
            raise value_error("data", expected="tensors of one length", found=f"lengths {sorted(lengths)}")
        self.num_data = lengths.pop()
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
            self._order, self._position = order.to(self.tensors[0].device), 0
        index = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return tuple(t[index] for t in self.tensors)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the current epoch."""
        return {"order": self._order, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume at the position of another run."""
        self._order, self._position = state["order"], state["position"]


class LoaderBatches:
    """Batches from an iterable such as a ``DataLoader``, which is restarted each epoch and determines their order.

    Args:
        loader: iterable of tensors or tuples of tensors.
        num_data: size of the data set; from ``loader.dataset`` if None.
    """

    def __init__(self, loader: Iterable[Any], num_data: int | None = None) -> None:
        self.loader = loader
        source = getattr(loader, "dataset", None)
        if num_data is None and source is None:
            raise value_error(
                "data",
                expected="tensors, a Dataset or a DataLoader",
                got=loader,
                hint="The size of an iterable is not known.",
            )
        self.num_data = len(source) if num_data is None else num_data  # type: ignore[arg-type]
        self._iterator: Iterator[Any] | None = None

    @property
    def per_epoch(self) -> int:
        """Batches per epoch."""
        return len(self.loader)  # type: ignore[arg-type]

    def next(self) -> Batch:
        """Return the next batch."""
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self.loader)
            batch = next(self._iterator, None)
            if batch is not None:
                return (batch,) if isinstance(batch, Tensor) else tuple(batch)
            self._iterator = None
        raise value_error("data", expected="at least one batch per epoch", found="an empty loader")

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: a loader is restarted."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: a loader is restarted."""


def make_batches(
    data: Any, batch_size: int | None = None, generator: torch.Generator | None = None
) -> TensorBatches | LoaderBatches | None:
    """Make batches of a :class:`~bayeshnet.tasks.Split`, tensors, a ``Dataset`` or a ``DataLoader``, if given."""
    if data is None:
        return None
    if isinstance(data, Split):
        return TensorBatches((data.x, data.y), batch_size, generator)
    if isinstance(data, Tensor):
        return TensorBatches((data,), batch_size, generator)
    if isinstance(data, TensorDataset):
        return TensorBatches(data.tensors, batch_size, generator)
    if isinstance(data, (tuple, list)):
        if not data or not all(isinstance(t, Tensor) and t.ndim > 0 for t in data):
            raise type_error("data", expected="tensors (x, y) of one length", got=data)
        return TensorBatches(data, batch_size, generator)
    if isinstance(data, Dataset):
        size = len(data) if batch_size is None else batch_size  # type: ignore[arg-type]
        device = generator.device.type if generator is not None else "cpu"
        order = generator if device == "cpu" else None
        return LoaderBatches(DataLoader(data, size, shuffle=True, drop_last=True, generator=order))
    if isinstance(data, DataLoader):
        if batch_size is not None:
            raise value_error("batch_size", expected="None with a DataLoader, which has its own", got=batch_size)
        return LoaderBatches(data)
    raise type_error("data", expected="(x, y), a Split, a Dataset or a DataLoader", got=data)
