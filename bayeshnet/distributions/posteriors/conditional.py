"""Generators that answer for several conditions from one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["Group", "OnePass", "rows_by_group"]

Group = tuple[int, ...]
"""Conditions that are asked for together."""


class OnePass(ABC):
    """What is generated from conditions alone can be made for several of them at once, for as long as a step lasts.

    One pass for all has one gradient of each parameter, where a pass each has as many, which must be added.
    """

    _made: Mapping[Group, Any] = {}

    @abstractmethod
    def _make(self, groups: Sequence[Group]) -> Mapping[Group, Any]:
        """What is generated for each group of conditions; nothing where a latent has its part in it."""

    def _ask(self, group: Group) -> Any:
        """What is generated for ``group``, which may be there already."""
        return self._made[group] if group in self._made else self._make([group])[group]

    @contextmanager
    def one_pass(self, groups: Sequence[Sequence[int]]) -> Iterator[None]:
        """Within this context, answer for each of ``groups`` from one pass made at its beginning.

        Parameters must not be changed, nor gradients be taken, before all questions have been asked.
        """
        self._made = self._make(list(dict.fromkeys(tuple(group) for group in groups)))
        try:
            yield
        finally:
            self._made = {}


def rows_by_group(groups: Sequence[Group], generate: Callable[[list[int]], Tensor]) -> dict[Group, Tensor]:
    """Rows of ``generate(ids)`` ``(len(ids), K)`` for each group, ``(len(group), K)``; each condition is asked once."""
    ids = list(dict.fromkeys(i for group in groups for i in group))
    made = generate(ids)
    sizes = [len(group) for group in groups]
    if sum(sizes) == len(ids):  # no condition twice: views, whose gradients are joined by one operation
        return dict(zip(groups, made.split(sizes) if len(groups) > 1 else [made], strict=True))
    rows = dict(zip(ids, made.unbind(), strict=True))
    return {group: torch.stack([rows[i] for i in group]) for group in groups}
