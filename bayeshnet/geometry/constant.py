"""The geometry of weights that do not depend on the latent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..deprecation import renamed_arguments
from ..errors import check_floating, check_shape, check_size
from .base import Geometry, Precision, split_precision

__all__ = ["ConstantGeometry"]


class ConstantGeometry(Geometry):
    """Weights that do not depend on the latent.

    Args:
        value: the weights ``(P,)``.
        latent_size: number ``n`` of latents.
    """

    is_affine = True

    def __init__(self, value: Tensor, latent_size: int) -> None:
        self.value = check_floating("value", check_shape("value", value, (None,)))
        self.latent_size, self.num_weights = check_size("latent_size", latent_size, 0), value.shape[0]

    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)``."""
        return self.value.new_zeros(self.latent_size)

    def __call__(self, z: Tensor) -> Tensor:
        """Return the weights for each latent: ``(*B, P)``."""
        return self.value.expand(*z.shape[:-1], -1)

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        """Return zeros ``(*B, n, n)``."""
        return self.value.new_zeros(*z.shape[:-1], self.latent_size, self.latent_size)

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        """Compute the squared distance of the weights to ``center``: ``(*B,)``."""
        values, factor = split_precision(precision, self.num_weights)
        delta = self.value if center is None else self.value - center
        norm = factor * (delta * delta if values is None else delta * delta * values).sum(-1)
        return norm.expand(torch.broadcast_shapes(z.shape[:-1], norm.shape))

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        """Return zeros ``(*B,)``."""
        return self.value.new_zeros(torch.broadcast_shapes(z.shape[:-1], other.shape[:-1]))

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        """Compute the inner product of the weights with ``v``: ``(*B,)``."""
        product = (self.value * v).sum(-1)
        return product.expand(torch.broadcast_shapes(z.shape[:-1], product.shape))

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function whose values are zeros ``(*B,)``."""

        def zeros(z: Tensor, other: Tensor) -> Tensor:
            return self.value.new_zeros(torch.broadcast_shapes(z.shape[:-1], other.shape[:-1], v.shape[:-1]))

        return zeros

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        """Return zeros ``(*B, n)``."""
        return self.value.new_zeros(*torch.broadcast_shapes(z.shape[:-1], v.shape[:-1]), self.latent_size)

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        """Return zeros ``(*B, P)``."""
        return self.value.new_zeros(*torch.broadcast_shapes(z.shape[:-1], t.shape[:-1]), self.num_weights)

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Return zeros ``(*B, R, n)``."""
        count = self.num_weights if index is None else index.shape[0]
        return self.value.new_zeros(*z.shape[:-1], count, self.latent_size)
