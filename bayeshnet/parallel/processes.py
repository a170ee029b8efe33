"""The contract of processes that train together, and the one process that is alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

__all__ = ["Alone", "ProcessLostError", "Processes"]


@final
class ProcessLostError(ConnectionError):
    """Another process has ended while this one needed it."""


class Processes(ABC):
    """Processes that run the same program on shares of its work.

    All of them call the same methods in the same order, with tensors of the same shapes.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        share: what is shared out, ``"data"`` or ``"samples"``.

    Raises:
        ProcessLostError: by all methods, if another process has ended.
    """

    rank: int = 0
    size: int = 1
    share: str = "data"

    @abstractmethod
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""

    @abstractmethod
    def gather(self, x: Tensor) -> Tensor:
        """Concatenate ``x`` ``(K, ...)`` of all processes to ``(R K, ...)``.

        The gradient of an entry is summed over the processes.
        """

    @abstractmethod
    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, in place."""

    @abstractmethod
    def collect(self, value: Any) -> list[Any]:
        """Return the values of all processes, in their order; they are pickled."""

    def tell(self, value: Any) -> Any:
        """Return the value of the first process, for which all processes wait."""
        return self.collect(value if self.rank == 0 else None)[0]


@final
class Alone(Processes):
    """One process, which has all shares."""

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def gather(self, x: Tensor) -> Tensor:
        """Return the tensor."""
        return x

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing."""

    def collect(self, value: Any) -> list[Any]:
        """Return the value in a list."""
        return [value]
