"""Groups of layers of a residual network whose weights are cut into chunks of the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import type_error, value_error
from ...mnets.mnet_interface import MainNetInterface

__all__ = ["ChunkAssembly", "Chunking", "LayerGroup", "LayerTensors"]

Chunking = tuple[list[list[list[int]]], list[int], Callable[[list[list[Tensor]]], list[Tensor]]]


@dataclass(frozen=True)
class LayerGroup:
    """Layers whose chunks have the same shapes.

    Attributes:
        shapes: shapes of the tensors in a chunk.
        layers: for each layer the names of its tensors, in the order of ``shapes``, and its number of chunks.
        axis: dimension along which the chunks of a layer's weight are concatenated.
        join_all: True if the chunks of its other tensors are concatenated as well, False to use those of the first
            chunk.
    """

    shapes: list[list[int]]
    layers: list[tuple[list[str], int]]
    axis: int = 0
    join_all: bool = True

    @property
    def count(self) -> int:
        """Number of chunks."""
        return sum(count for _, count in self.layers)


class ChunkAssembly:
    """Assembly function of a chunking, which concatenates the chunks of each layer and orders all tensors.

    Args:
        groups: the layer groups.
        order: names of all tensors, in the order of the result.
    """

    def __init__(self, groups: Sequence[LayerGroup], order: Sequence[str]) -> None:
        self.groups, self.order = list(groups), list(order)

    def __call__(self, list_of_chunks: list[list[Tensor]]) -> list[Tensor]:
        """Return the tensors assembled from the chunks, which are ordered by group and layer."""
        tensors: dict[str, Tensor] = {}
        rest = iter(list_of_chunks)
        for group in self.groups:
            for names, count in group.layers:
                chunks = [next(rest) for _ in range(count)]
                for i, name in enumerate(names):
                    if count == 1 or (i and not group.join_all):
                        tensors[name] = chunks[0][i]
                    else:
                        tensors[name] = torch.cat([chunk[i] for chunk in chunks], dim=0 if i else group.axis)
        return [tensors[name] for name in self.order]


class LayerTensors:
    """Tensors of a residual network by layer.

    Args:
        net: the network.
        cls: its expected class.
        norms: include the tensors of batch norm.
    """

    def __init__(self, net: Any, cls: type[MainNetInterface], norms: bool) -> None:
        if not isinstance(net, cls):
            raise type_error("net", expected=f"a network of class {cls.__name__}", got=net)
        if net.context_mod_layers is not None:
            raise value_error("net", expected="a network without context modulation", found="one with")
        self.shapes = {r.label: list(r.shape) for r in net._ledger.records}
        self.norms = norms

    def layer(self, i: int) -> list[str]:
        """Return the names of the tensors of layer ``i``: weight, bias, batch-norm scale and shift, if it has them."""
        names = [f"layer{3 * i + 1}.weight", f"layer{3 * i + 1}.bias"]
        names += [f"layer{3 * i + 2}.bn_scale", f"layer{3 * i + 2}.bn_shift"] if self.norms else []
        return [name for name in names if name in self.shapes]

    def maps(self, i: int) -> tuple[int, int]:
        """Return the numbers of output and input feature maps of layer ``i``."""
        shape = self.shapes[f"layer{3 * i + 1}.weight"]
        return shape[0], shape[1]

    def whole(self, layers: Sequence[int]) -> LayerGroup:
        """Return the group in which each of ``layers``, which have the same shapes, is one chunk."""
        return LayerGroup([self.shapes[name] for name in self.layer(layers[0])], [(self.layer(i), 1) for i in layers])

    def cut(self, layers: Sequence[int], axis: int, size: int) -> LayerGroup:
        """Return the group in which weights are cut into pieces of ``size`` maps along ``axis``.

        Along the outputs (0) the other tensors of the layer are cut as well. Along the inputs (1) each chunk contains
        all of them, and only those of the first chunk are used.
        """
        weight, *others = (list(self.shapes[name]) for name in self.layer(layers[0]))
        weight[axis] = size
        shapes = [weight, *([size] if axis == 0 else other for other in others)]
        counts = [(self.layer(i), self.maps(i)[axis] // size) for i in layers]
        return LayerGroup(shapes, counts, axis, join_all=axis == 0)

    def chunking(self, groups: Sequence[LayerGroup]) -> Chunking:
        """Return chunk shapes, numbers of chunks and assembly function for ``groups``."""
        names = {name for group in groups for of_layer, _ in group.layers for name in of_layer}
        order = [name for name in self.shapes if name in names]
        return [group.shapes for group in groups], [group.count for group in groups], ChunkAssembly(groups, order)
