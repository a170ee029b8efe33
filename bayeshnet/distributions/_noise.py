"""Standard noise in the dtype and on the device of another tensor."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["normal_like", "uniform_like"]


def normal_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise of ``size``."""
    return torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)


def uniform_like(like: Tensor, size: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Uniform noise of ``size`` in [0, 1)."""
    return torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)
