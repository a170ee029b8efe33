"""Standardization of features by mean and deviation over the first task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Standardize"]

_FLOOR = 0.1


class Standardize(nn.Module):
    r"""The map :math:`z \mapsto (z - m) / s` with mean and deviation of each number over the inputs of the first task.

    Deviations below a tenth of their mean are raised to it: a number that hardly varies in the first task may vary in
    others.

    Args:
        size: number of entries of :math:`z`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def learn(self, z: Tensor) -> None:
        """Take mean and deviation of ``z`` ``(N, size)``."""
        std = z.std(0, correction=0)
        floor = _FLOOR * std.mean()
        self.mean.copy_(z.mean(0))
        self.scale.copy_(torch.where(floor > 0, torch.maximum(std, floor), torch.ones_like(std)))

    def forward(self, z: Tensor) -> Tensor:
        """Standardize ``z``."""
        return (z - self.mean) / self.scale
