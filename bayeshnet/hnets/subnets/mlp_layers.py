"""Sizes and layers of a perceptron in a hypernetwork."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ...layers import BatchNormLayer
from ...layers.elementwise import Activation

__all__ = ["MLPLayers", "MLPSizes"]


@dataclass(frozen=True)
class MLPSizes:
    """Sizes of a perceptron whose input is ``[unconditional, chunk embedding, conditional]``, in this order."""

    uncond: int
    chunk: int
    cond: int
    layers: tuple[int, ...]
    out: int
    use_bias: bool = True
    batch_norm: bool = False
    skip: bool = False
    stretch: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Input size of each layer, the output layer last."""
        first = self.uncond + self.chunk + self.cond
        widths = (first, *self.layers)
        return (*widths[:-1], widths[-1] + self.uncond) if self.skip else widths


@dataclass(frozen=True, eq=False)
class MLPLayers:
    """The tensors of a perceptron in one forward pass, and the operations between its layers.

    Shape:
        ``weights[k]`` ``(out, in)``; ``biases[k]`` ``(out,)`` or None; ``norms`` contain gains and shifts ``(out,)``;
        ``stretch`` ``(n, n)``, strictly lower triangular, or None.
    """

    sizes: MLPSizes
    weights: list[Tensor]
    biases: list[Tensor | None]
    norms: list[tuple[BatchNormLayer, Tensor, Tensor]]
    activation: Activation
    dropout: nn.Module | None
    stretch: Tensor | None = None
