"""Activations that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GaussianBump"]


class GaussianBump(nn.Module):
    r"""The localized activation :math:`a \mapsto \exp(-a^2)`.

    A unit answers near its hyperplane only, so far away from the data all hidden units fall silent and the outputs
    return to the prior of the last layer's biases: a network of such units knows where its data ended.

    Shape:
        Any, elementwise.

    References:
        Broomhead, Lowe, "Multivariable functional interpolation and adaptive networks", 1988 (radial basis networks).

    Example:
        >>> GaussianBump()(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.3679])
    """

    elementwise = True
    """Says that each entry is mapped alone, so that batched products apply."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return torch.exp(-x.square())
