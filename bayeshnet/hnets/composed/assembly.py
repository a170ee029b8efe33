"""Assembly functions of composed hypernetworks, with a test of whether they only select and order weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import type_error, value_error
from ...geometry.selection import Selection

__all__ = ["Assembly"]

Shapes = Sequence[Sequence[int]]


class Assembly:
    """A user's function from groups of tensors to target tensors, one sample at a time.

    Args:
        fn: the function; it is called with the arguments ``arrange(groups)``.
        parts: for each source vector its groups (chunks), each a list of shapes of tensors.
        target_shapes: shapes of the tensors to return.
        arrange: function from the list of the groups of all parts to the arguments of ``fn``.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        parts: Sequence[Sequence[Shapes]],
        target_shapes: Shapes,
        arrange: Callable[[list[list[Tensor]]], tuple[Any, ...]],
    ) -> None:
        if not callable(fn):
            raise type_error("assembly_fct", expected="a function", got=fn)
        self.fn, self.parts, self.targets, self.arrange = fn, parts, list(target_shapes), arrange
        self._pieces = [[math.prod(shape) for group in groups for shape in group] for groups in parts]
        self.sizes = [sum(pieces) for pieces in self._pieces]
        self._selection: Selection | None = None
        self._traced = False
        try:
            tensors = self([torch.zeros(()).expand(size) for size in self.sizes])
        except (AssertionError, IndexError, KeyError, RuntimeError, TypeError) as error:
            if str(error).startswith("assembly_fct: expected"):
                raise
            text = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise value_error(
                "assembly_fct", expected="a function of tensors of the given shapes", found=text
            ) from error
        self._check(tensors)

    def __call__(self, sources: Sequence[Tensor]) -> list[Tensor]:
        """Assemble one sample from the vectors of all parts."""
        return self._assemble([source.split(sizes) for source, sizes in zip(sources, self._pieces, strict=True)])

    def _assemble(self, pieces: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Assemble one sample from the flat tensors of each part."""
        groups = []
        for flat, shapes in zip(pieces, self.parts, strict=True):
            rest = iter(flat)
            groups += [[next(rest).view(torch.Size(shape)) for shape in group] for group in shapes]
        tensors = self.fn(*self.arrange(groups))
        if not isinstance(tensors, (list, tuple)):
            raise type_error(
                "assembly_fct", expected=f"a function that returns a list of {len(self.targets)} tensors", got=tensors
            )
        return list(tensors)

    def batch(self, outs: Sequence[Tensor], ret_format: str) -> Any:
        """Assemble all samples of the outputs ``(B, P_i)`` or ``(1, P_i)`` of the parts in format ``ret_format``."""
        size = max(out.shape[0] for out in outs)
        # One split per part, since its gradient is a single concatenation.
        pieces = [out.reshape(-1).split(n * out.shape[0]) for out, n in zip(outs, self._pieces, strict=True)]
        steps = [len(n) if out.shape[0] > 1 else 0 for out, n in zip(outs, self._pieces, strict=True)]
        counts = [len(n) for n in self._pieces]
        samples = [
            self._assemble([p[b * s : b * s + c] for p, s, c in zip(pieces, steps, counts, strict=True)])
            for b in range(size)
        ]
        if ret_format == "flattened":
            return torch.cat([tensor.flatten() for sample in samples for tensor in sample]).view(size, -1)
        return samples[0] if ret_format == "squeezed" and size == 1 else samples

    def _check(self, tensors: list[Tensor]) -> None:
        shapes = [list(t.shape) if isinstance(t, Tensor) else t for t in tensors]
        if shapes != [list(shape) for shape in self.targets]:
            raise value_error(
                "assembly_fct",
                expected=f"tensors of shapes {[list(s) for s in self.targets]}",
                found=str(shapes),
                hint="It gets one sample at a time.",
            )

    def flat(self, source: Tensor) -> Tensor:
        """Return all target weights ``(P,)`` for a vector of all source weights."""
        return torch.cat([t.flatten() for t in self(source.split(self.sizes))])

    def selection(self) -> Selection | None:
        """Return the weights that the function selects, in order, or None if it does not only select.

        The function is evaluated once on the indices of the weights, and the result is verified on random values.
        """
        if not self._traced:
            self._selection, self._traced = self._trace(), True
        return self._selection

    def _trace(self) -> Selection | None:
        total = sum(self.sizes)
        try:
            index = self.flat(torch.arange(total))
        except (NotImplementedError, RuntimeError, TypeError):  # the function needs floating-point numbers
            return None
        if index.dtype != torch.long or index.min() < 0 or index.max() >= total:
            return None
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            values = torch.randn(total, generator=generator, dtype=torch.float64)
            if not torch.equal(self.flat(values), values[index]):
                return None
        return Selection.of(index, self.sizes)
