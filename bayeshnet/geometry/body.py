"""The part of a hypernetwork below its linear head: the interface that the geometry of the head uses."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Body"]


class Body(Protocol):
    r"""A map :math:`z \mapsto a_c(z)` from latents to the activations below a linear head, for each chunk :math:`c`.

    Attributes:
        latent_size: number ``n`` of latents.
        num_chunks: number ``C`` of chunks.
        is_affine: True if the activations are an affine function of the latent.

    Shape:
        ``z`` ``(*B, n)``; activations ``(*B, C, H)``; their Jacobian, transposed, ``(*B, n, C, H)``.
    """

    latent_size: int
    num_chunks: int

    @property
    def is_affine(self) -> bool:
        """True if the activations are an affine function of the latent."""

    def __call__(self, z: Tensor, chunks: slice = slice(None)) -> Tensor:
        """Evaluate the activations of the chosen chunks."""

    def push(self, z: Tensor, tangents: Tensor | None = None, chunks: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Evaluate activations and their derivatives along ``tangents`` ``(*B, m, n)`` (all axes if None)."""

    def pull(self, z: Tensor, cotangent: Tensor) -> Tensor:
        """Pull a cotangent ``(*B, C, H)`` of the activations back to the latent: ``(*B, n)``."""
