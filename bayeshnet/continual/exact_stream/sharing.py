"""Learning of chunks of examples, which several processes that share data out do apart: their sums add."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ...exact import ExactHead
from ...parallel import processes
from ...parallel.shares import shares_data
from .memory import ExactMemory

__all__ = ["learn_chunks"]


def learn_chunks(
    memory: ExactMemory, parts: Iterable[tuple[Tensor, Tensor]], step: int, make_head: Callable[[], ExactHead]
) -> list[tuple[Tensor, Tensor]]:
    """Learn chunks of examples, and return features and classes of every ``step``-th one, for the calibration.

    Processes learn examples apart unless the head forgets, for which their order matters. The head is the same in all
    of them afterwards.

    Args:
        memory: features and head, the same in all processes.
        parts: inputs and classes of each chunk.
        step: distance of the examples that are returned.
        make_head: function that returns a head like that of ``memory`` which has learned nothing.
    """
    apart = make_head().to(memory.head.gram.device) if shares_data() and memory.head.forgetting == 1 else None
    kept, start = [], 0
    for x, y in parts:
        some = slice(-start % step, None, step)
        if apart is None:
            features = memory.features_of(x)
            memory.head.update(features, y)
            kept.append((features[some].clone(), y[some]))
        else:
            _learn_own(memory, apart, x, y)
            kept.append((memory.features_of(x[some]), y[some]))
        memory.note(y)
        start += len(y)
    if apart is not None:
        memory.head = _merged(memory.head, apart, make_head)
    return kept


def _learn_own(memory: ExactMemory, apart: ExactHead, x: Tensor, y: Tensor) -> None:
    """Learn the examples of this process."""
    own = slice(processes().rank, None, processes().size)
    if len(y[own]):
        apart.update(memory.features_of(x[own]), y[own].contiguous())


@torch.no_grad()
def _merged(head: ExactHead, apart: ExactHead, make_head: Callable[[], ExactHead]) -> ExactHead:
    """Return the head with what all processes have learned."""
    for state in processes().collect({name: value.cpu() for name, value in apart.state_dict().items()}):
        other = copy.deepcopy(make_head())
        other.resize_like(state)
        other.load_state_dict(state)
        head = head.merge(other)
    return head
