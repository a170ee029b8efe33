"""The contract of a network inside a hypernetwork."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...geometry.base import Geometry

__all__ = ["Subnet"]


class Subnet(nn.Module, ABC):
    """A network as a function of its tensors, which a hypernetwork declares.

    Its inputs are unconditional ``(B, n)``, conditional ``(B, m)`` and chunk embeddings ``(C, e)`` or ``(B, C, e)``,
    each of them optional; a batch of one is repeated.
    """

    @abstractmethod
    def declare(self, net: Any, internal: bool) -> None:
        """Declare the tensors in the hypernetwork ``net``, and initialize them if they are ``internal``."""

    @abstractmethod
    def run(
        self, tensors: Sequence[Tensor], uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None, stats_id: Any
    ) -> Tensor:
        """Compute outputs ``(B, P)``, with chunks ``(B, C, P)``, for tensors in the order of :meth:`declare`."""

    @abstractmethod
    def geometry(
        self, tensors: Sequence[Tensor], cond: Tensor | None, chunk: Tensor | None, stats_id: Any, num_outputs: int
    ) -> Geometry | None:
        """Return the geometry of the first ``num_outputs`` outputs in closed form, or None.

        Args:
            tensors: in the order of :meth:`declare`.
            cond: conditional input ``(m,)``, or None.
            chunk: chunk embeddings ``(C, e)``, or None.
            stats_id: identifier of the batch statistics.
            num_outputs: number of outputs.
        """

    @abstractmethod
    def run_batched(self, tensors: Sequence[Tensor], uncond: Tensor, chunk: Tensor | None) -> Tensor | None:
        """Compute outputs under ``T`` sets of tensors in one batched pass; return None if that is not possible.

        Args:
            tensors: ``(T, *shape)``, in the order of :meth:`declare`.
            uncond: unconditional inputs ``(T, M, n)``.
            chunk: chunk embeddings ``(T, C, e)``, or None without chunks.

        Returns:
            ``(T, M, P)``, with chunks ``(T, M, C * P)``.
        """
