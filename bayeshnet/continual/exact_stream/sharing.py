"""Exact heads of several processes, each of which learns a part of the examples: their sums add."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ...exact import ExactHead
from ...parallel import processes
from ...parallel.shares import own_part, shares_data

__all__ = ["learn_apart", "may_share"]

_CHUNK = 1000


def may_share(head: ExactHead, count: int) -> bool:
    """Return whether ``count`` examples are learned in parts: in no order, and at least one by each process."""
    return shares_data() and head.forgetting == 1 and count >= processes().size


@torch.no_grad()
def learn_apart(empty: ExactHead, head: ExactHead, features: Tensor, y: Tensor) -> ExactHead:
    """Return the head that has learned the examples as well, of which each process learns a part.

    Args:
        empty: a head like ``head`` that has learned nothing.
        head: the head, the same in all processes.
        features: ``(N, D)`` of all examples.
        y: classes ``(N,)``.
    """
    start, stop = own_part("task", len(y))
    own = copy.deepcopy(empty)
    for part, labels in zip(features[start:stop].split(_CHUNK), y[start:stop].split(_CHUNK), strict=True):
        own.update(part, labels)
    for state in processes().collect({name: value.cpu() for name, value in own.state_dict().items()}):
        other = copy.deepcopy(empty)
        other.resize_like(state)
        other.load_state_dict(state)
        head = head.merge(other)
    return head
