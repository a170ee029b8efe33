"""Activations that are not in torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GaussianBump"]


class GaussianBump(nn.Module):
    r"""The localized activation :math:`a \mapsto \exp(-a^2)`.

    A unit is active near its hyperplane only. Far away from the data all hidden units are close to zero, so the outputs
    revert to the prior of the last layer's biases and uncertainty grows outside the data.

    Shape:
        Any, elementwise.

    References:
        Broomhead, Lowe, "Multivariable functional interpolation and adaptive networks", 1988 (radial basis networks).

    Example:
        >>> GaussianBump()(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.3679])
    """

    elementwise = True
    """Declares that each entry is mapped independently of the others, as batched forward passes require."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return torch.exp(-x.square())
