"""The geometry of a hypernetwork: what a density needs of the map ``z -> h(z)``, if possible without weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import check_shape, type_error

__all__ = ["Geometry", "Precision", "split_precision"]

Precision = float | Tensor
"""One number, a tensor without dimensions, or one value per weight ``(P,)``."""


class Geometry(ABC):
    r"""The map :math:`h: \mathbb{R}^n \to \mathbb{R}^P` of a hypernetwork at a fixed condition and fixed weights.

    With :math:`\Lambda` the diagonal ``precision`` and :math:`J` the Jacobian of :math:`h` at :math:`z`, all methods
    are differentiable with respect to the hypernetwork's parameters, ``precision`` and their tensor arguments.

    Shape:
        ``z`` is ``(*B, n)``; tensors over weights are ``(*B', P)`` with ``B'`` broadcastable against ``B``;
        ``precision`` is a number or ``(P,)``. Results have the broadcast batch shape on the left.

    A geometry lives for one step: it may cache what depends on the parameters only (such as a Gram matrix of the head).
    """

    latent_size: int
    num_weights: int
    is_affine: bool = False
    """Whether ``h(z) = A z + b`` by construction, so that closed forms hold."""

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""

    @abstractmethod
    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""

    @abstractmethod
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Squared distance :math:`(h(z)-c)^\top \Lambda (h(z)-c)` to ``center`` ``(P,)`` (zero if None): ``(*B,)``."""

    @abstractmethod
    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Squared distance :math:`(h(z)-h(z'))^\top \Lambda (h(z)-h(z'))`, the difference formed first: ``(*B,)``."""

    @abstractmethod
    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Inner product :math:`v^\top h(z)`: ``(*B,)``."""

    def inner_between(self, z: Tensor, other: Tensor, v: Tensor) -> Tensor:
        r"""Inner product :math:`v^\top (h(z) - h(z'))`, the difference formed first where that is cheap: ``(*B,)``."""
        return self.inner(z, v) - self.inner(other, v)

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        r"""The function :meth:`inner_between` of two latents for one ``v``, of which all that it takes is made once.

        So its results share a graph, which lasts for one backward pass. Who overrides one overrides both.
        """
        return lambda z, other: self.inner_between(z, other, v)

    @abstractmethod
    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""

    @abstractmethod
    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""

    @abstractmethod
    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""

    def affine(self) -> tuple[Tensor, Tensor]:
        """Matrix ``(P, n)`` and offset ``(P,)`` of an affine map; refused unless :attr:`is_affine`."""
        if not self.is_affine:
            raise ValueError("geometry: expected an affine map h(z) = A z + b, got a nonlinear one.")
        zero = self.zero_latent()
        return self.rows(zero), self(zero)

    @abstractmethod
    def zero_latent(self) -> Tensor:
        """A zero latent ``(n,)`` in the dtype and on the device of the map; latents are drawn like it."""

    def draw_latent(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal latents ``(num, n)``."""
        zero = self.zero_latent()
        return torch.randn(num, self.latent_size, dtype=zero.dtype, device=zero.device, generator=generator)


def split_precision(precision: Precision, num_weights: int) -> tuple[Tensor | None, float | Tensor]:
    """Split ``precision`` into values per weight ``(P,)`` (or None) and a common factor."""
    if isinstance(precision, Tensor):
        if precision.ndim == 0:
            return None, precision
        return check_shape("precision", precision, (num_weights,), "Or give one number."), 1.0
    if isinstance(precision, bool) or not isinstance(precision, (int, float)):
        raise type_error("precision", expected="a number or a tensor of shape () or (P,)", got=precision)
    return None, precision
