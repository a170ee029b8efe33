"""Spectral normalization of a weight that is passed to ``forward``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_int, check_shape, check_size, check_sizes, value_error
from ..representation import ModuleSettings

__all__ = ["SpectralNorm"]


class SpectralNorm(ModuleSettings, nn.Module):
    r"""Divide a weight by an estimate of its largest singular value, :math:`W / (u^\top W v)`.

    The singular vectors are buffers. In training mode each call refines them by power iterations, in evaluation mode
    they are constant. The estimate is differentiated with :math:`u, v` constant.

    Args:
        shape: of the weight ``(out, in, *kernel)``, which is reshaped to a matrix ``(out, in * kernel)``.
        num_iters: power iterations per call in training mode.
        dim: the output dimension of the weight (1 for transposed convolutions).

    References:
        Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial networks", 2018.

    Example:
        >>> norm = SpectralNorm((4, 3), num_iters=50)
        >>> round(torch.linalg.matrix_norm(norm(torch.randn(4, 3)), 2).item(), 3)
        1.0
    """

    eps = 1e-12
    u: Tensor
    v: Tensor

    def __init__(self, shape: Sequence[int], num_iters: int = 1, dim: int = 0) -> None:
        super().__init__()
        self._shape, self._dim = tuple(check_sizes("shape", shape, 1)), check_int("dim", dim, 0)
        if len(self._shape) < 2 or dim >= len(self._shape):
            raise value_error("shape", expected=f"at least {max(2, self._dim + 1)} dimensions", got=shape)
        self._num_iters = check_size("num_iters", num_iters, 1)
        rows = self._shape[dim]
        columns = math.prod(self._shape) // rows
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0, eps=self.eps))
        self.register_buffer("v", F.normalize(torch.randn(columns), dim=0, eps=self.eps))

    @property
    def updates_stats(self) -> bool:
        """True if a forward pass changes the singular vectors in the present mode."""
        return self.training

    def forward(self, weight: Tensor) -> Tensor:
        """Return ``weight`` divided by its spectral norm."""
        check_shape("weight", weight, self._shape)
        matrix = weight.movedim(self._dim, 0).flatten(1)
        if self.training:
            with torch.no_grad():
                for _ in range(self._num_iters):
                    self.v.copy_(F.normalize(matrix.t().mv(self.u), dim=0, eps=self.eps))
                    self.u.copy_(F.normalize(matrix.mv(self.v), dim=0, eps=self.eps))
        # The next call changes the buffers in place, so the gradient of this one needs copies.
        sigma = torch.dot(self.u.clone(), matrix.mv(self.v.clone()))
        return weight / sigma
