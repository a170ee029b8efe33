"""Features of a task are computed once: in chunks, kept in memory or, above a limit, in a memory-mapped file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from ..checks import check_data, check_path
from ..errors import check_instance, check_int, check_size
from ..memo import Memo
from ..representation import Settings
from .base import FeatureMap

__all__ = ["FeatureCache"]


class FeatureCache(Settings):
    """A cache of the features of the last few tensors of inputs.

    The same tensor, not modified since, is not computed again under the same map. Features of more bytes than the
    limit are written to a file that the system maps into memory and that vanishes with the tensor.

    Args:
        limit: largest number of bytes of features in memory.
        folder: where files go; None for the system's folder of temporary files.
        chunk_size: number of inputs that are computed at a time.
        size: number of tensors of inputs whose features are kept.

    Example:
        >>> from bayeshnet.features import RandomFourier
        >>> x = torch.randn(50, 3)
        >>> features, cache = RandomFourier(100).fit(x), FeatureCache()
        >>> cache.of(features, x) is cache.of(features, x)
        True
    """

    def __init__(
        self, *, limit: int = 2**30, folder: str | Path | None = None, chunk_size: int = 1000, size: int = 2
    ) -> None:
        self.limit = check_int("limit", limit, 0)
        self.folder = None if folder is None else check_path("folder", folder, "a folder, or None")
        self.chunk_size = check_size("chunk_size", chunk_size)
        self.size = check_size("size", size)
        self._memo: Memo[Tensor] = Memo(self.size)

    def of(self, features: FeatureMap, x: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of inputs ``(N, *input_shape)``, computed now or before.

        Args:
            features: the map.
            x: inputs.
        """
        check_instance("features", features, FeatureMap, "a FeatureMap")
        check_data("x", x)
        keys = (x, features, *features.buffers(), *features.parameters())
        return self._memo.get(keys, lambda: self._compute(features, x))

    def clear(self) -> None:
        """Drop all features."""
        self._memo.clear()

    def _compute(self, features: FeatureMap, x: Tensor) -> Tensor:
        if x.ndim == 0 or len(x) <= self.chunk_size:
            value: Tensor = features(x)
            return value
        out: Tensor | None = None
        for start in range(0, len(x), self.chunk_size):
            found = features(x[start : start + self.chunk_size])
            if out is None:
                out = self._room(found, len(x))
            out[start : start + len(found)] = found
        return features(x) if out is None else out

    def _room(self, like: Tensor, count: int) -> Tensor:
        """Return a tensor ``(count, D)`` in memory, or in a file that has no name any more."""
        size = (count, like.shape[1])
        if like.device.type != "cpu" or count * like.shape[1] * like.element_size() <= self.limit:
            return like.new_empty(size)
        handle, name = tempfile.mkstemp(suffix=".features", dir=self.folder)
        os.close(handle)
        try:
            mapped = torch.from_file(name, shared=True, size=size[0] * size[1], dtype=like.dtype)
        finally:
            if os.name == "posix":
                os.unlink(name)
        return mapped.reshape(size)
