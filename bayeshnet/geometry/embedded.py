"""The geometry of a map to some of the weights of a wider network, with zeros at the others."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..deprecation import renamed_arguments
from ..errors import check_instance, check_shape, check_size, value_error
from ..memo import Memo
from .base import Geometry, Precision, check_index

__all__ = ["EmbeddedGeometry"]


class EmbeddedGeometry(Geometry):
    r"""Geometry of the map that is :math:`h(z)` at some of the weights and zero at the others.

    Args:
        inner: the map :math:`h` to ``K`` weights.
        places: distinct positions ``(K,)`` of its outputs among all weights.
        num_weights: number ``P`` of all weights.
    """

    def __init__(self, inner: Geometry, places: Tensor, num_weights: int) -> None:
        self.inner_map = check_instance("inner", inner, Geometry, "a Geometry")
        self.places = check_index("places", check_shape("places", places, (inner.num_weights,)))
        if check_size("num_weights", num_weights) < inner.num_weights:
            raise value_error(
                "num_weights", expected=f"at least {inner.num_weights}, as many as inner", got=num_weights
            )
        self.latent_size, self.num_weights, self.is_affine = inner.latent_size, num_weights, inner.is_affine
        self._chosen = Memo[Tensor]()

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate the map: ``(*B, P)``."""
        return self._embed(self.inner_map(z))

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        """Compute the Gram matrix: ``(*B, n, n)``."""
        found: Tensor = self.inner_map.gram(z, self._at(precision))
        return found

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        """Compute the squared distance to ``center``: ``(*B,)``."""
        if center is None:
            found: Tensor = self.inner_map.sqdist(z, None, self._at(precision))
            return found
        near = self.inner_map.sqdist(z, center[..., self.places], self._at(precision))
        far = (center**2 * precision).index_fill(-1, self.places, 0).sum(-1)
        found = near + far
        return found

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        """Compute the squared distance between two outputs: ``(*B,)``."""
        found: Tensor = self.inner_map.sqdist_between(z, other, self._at(precision))
        return found

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        """Compute the inner product with ``v``: ``(*B,)``."""
        found: Tensor = self.inner_map.inner(z, v[..., self.places])
        return found

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the inner product of ``v`` with a difference of outputs, as a function of two latents."""
        found: Callable[[Tensor, Tensor], Tensor] = self.inner_map.against(v[..., self.places])
        return found

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        """Compute the vector-Jacobian product: ``(*B, n)``."""
        found: Tensor = self.inner_map.vjp(z, v[..., self.places])
        return found

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        """Compute the Jacobian-vector product: ``(*B, P)``."""
        return self._embed(self.inner_map.jvp(z, t))

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute rows of the Jacobian: ``(*B, R, n)``."""
        full = self._embed(self.inner_map.rows(z).mT).mT
        return full if index is None else full[..., index, :]

    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)``."""
        found: Tensor = self.inner_map.zero_latent()
        return found

    def _at(self, precision: Precision) -> Precision:
        """Select the precision at the places, as the same tensor at each call, for which ``h`` may keep matrices."""
        if not isinstance(precision, Tensor) or not precision.ndim:
            return precision
        return self._chosen.get((precision,), lambda: precision[self.places])

    def _embed(self, values: Tensor) -> Tensor:
        """Put values ``(*B, K)`` at their places among zeros: ``(*B, P)``."""
        return values.new_zeros(*values.shape[:-1], self.num_weights).index_copy(-1, self.places, values)
