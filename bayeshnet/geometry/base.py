"""The geometry of a hypernetwork: norms, products and derivatives of ``z -> h(z)`` for computing densities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from ..deprecation import renamed_arguments
from ..errors import check_shape, type_error

__all__ = ["Geometry", "Precision", "check_index", "split_precision"]

Precision = float | Tensor
"""A number, a tensor ``()``, or one value per weight ``(P,)``."""


class Geometry(ABC):
    r"""The map :math:`h: \mathbb{R}^n \to \mathbb{R}^P` of a hypernetwork at a fixed condition and fixed weights.

    Estimators ask for quadratic forms of :math:`h(z)` and of its Jacobian :math:`J`, in which ``precision`` is a
    diagonal matrix :math:`\Lambda`. Subclasses compute them without weight vectors where they can. All methods are
    differentiable with respect to the hypernetwork's parameters, ``precision`` and their tensor arguments.

    Shape:
        ``z`` is ``(*B, n)``; tensors over weights are ``(*B', P)`` with ``B'`` broadcastable against ``B``;
        ``precision`` is a number or ``(P,)``. Results have the broadcast batch shape on the left.

    Make a new geometry after each update of the parameters: it may cache quantities that depend on them alone, such as
    a Gram matrix of the head.

    Attributes:
        latent_size: number ``n`` of latents.
        num_weights: number ``P`` of weights.
        is_affine: True if ``h(z) = A z + b`` by construction, so that closed forms hold.
    """

    latent_size: int
    num_weights: int
    is_affine: bool = False

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""

    @abstractmethod
    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""

    @abstractmethod
    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Compute :math:`(h(z)-c)^\top \Lambda (h(z)-c)` for a ``center`` ``(P,)`` (zero if None): ``(*B,)``."""

    @abstractmethod
    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute :math:`(h(z)-h(z'))^\top \Lambda (h(z)-h(z'))` from the difference :math:`h(z)-h(z')`: ``(*B,)``."""

    @abstractmethod
    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the inner product :math:`v^\top h(z)`: ``(*B,)``."""

    @abstractmethod
    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        r"""Return the function :math:`z, z' \mapsto v^\top (h(z) - h(z'))`, precomputing what depends on ``v`` alone.

        Its results share that part of the graph, which lasts for one backward pass.
        """

    def inner_between(self, z: Tensor, other: Tensor, v: Tensor) -> Tensor:
        r"""Compute the inner product :math:`v^\top (h(z) - h(z'))` with a difference of outputs: ``(*B,)``."""
        return self.against(v)(z, other)

    @abstractmethod
    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""

    @abstractmethod
    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Compute the Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""

    @abstractmethod
    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return matrix ``(P, n)`` and offset ``(P,)`` of an affine map; raise ValueError unless :attr:`is_affine`."""
        if not self.is_affine:
            raise ValueError("geometry: expected an affine map h(z) = A z + b, got a nonlinear one.")
        zero = self.zero_latent()
        return self.rows(zero), self(zero)

    def __repr__(self) -> str:
        """Show the numbers of latents and weights."""
        return f"{type(self).__name__}(latent_size={self.latent_size}, num_weights={self.num_weights})"

    @abstractmethod
    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)`` with dtype and device of the map."""

    def draw_latent(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw standard normal latents ``(num, n)``."""
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


def check_index(argument: str, index: Tensor) -> Tensor:
    """Return ``index`` if it is a vector of integers, as positions are; its values are not looked at."""
    check_shape(argument, index, (None,))
    if index.dtype not in (torch.int64, torch.int32):
        raise type_error(argument, expected="positions, integers (K,)", got=index)
    return index
