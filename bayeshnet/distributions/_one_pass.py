"""Generators that answer for several conditions from one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["OnePass"]


class OnePass(ABC):
    """What is generated from conditions alone can be made for several of them at once, for as long as a step lasts.

    One pass for all has one gradient of each parameter, where a pass each has as many, which must be added.
    """

    _made: Mapping[Any, Any] = {}

    @abstractmethod
    def _make(self, cond_ids: Sequence[int]) -> Mapping[int, Any]:
        """What is generated for each of ``cond_ids``; nothing where a latent has its part in it."""

    @contextmanager
    def one_pass(self, cond_ids: Sequence[int]) -> Iterator[None]:
        """Within this context, answer for ``cond_ids`` from one pass made at its beginning.

        Parameters must not be changed, nor gradients be taken, before all questions have been asked.
        """
        self._made = self._make(list(dict.fromkeys(cond_ids)))
        try:
            yield
        finally:
            self._made = {}
