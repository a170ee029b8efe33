"""Designs of structured hypernetworks for residual networks: how their weights are cut into chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import check_flags, type_error, value_error
from ..mnets.mnet_interface import MainNetInterface
from ..mnets.resnet import ResNet
from ..mnets.wide_resnet import WRN

__all__ = ["ChunkAssembly", "LayerGroup", "resnet_chunking", "wrn_chunking"]

Chunking = tuple[list[list[list[int]]], list[int], Callable[[list[list[Tensor]]], list[Tensor]]]


@dataclass(frozen=True)
class LayerGroup:
    """Layers whose chunks have the same shapes.

    Attributes:
        shapes: shapes of the tensors in a chunk.
        layers: for each layer the names of its tensors, in the order of ``shapes``, and its number of chunks.
        axis: along which the chunks of a layer's weight are joined.
        join_all: whether the chunks of its other tensors are joined as well; else those of the first chunk are taken.
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
    """The assembly function of a chunking: joins the chunks of each layer and puts all tensors in order.

    Args:
        groups: the layer groups.
        order: names of all tensors, in the order in which they are to be returned.
    """

    def __init__(self, groups: Sequence[LayerGroup], order: Sequence[str]) -> None:
        self.groups, self.order = list(groups), list(order)

    def __call__(self, list_of_chunks: list[list[Tensor]]) -> list[Tensor]:
        """Return the tensors that the chunks, those of the first group first, make up."""
        found: dict[str, Tensor] = {}
        rest = iter(list_of_chunks)
        for group in self.groups:
            for names, count in group.layers:
                chunks = [next(rest) for _ in range(count)]
                for i, name in enumerate(names):
                    if count == 1 or (i and not group.join_all):
                        found[name] = chunks[0][i]
                    else:
                        found[name] = torch.cat([chunk[i] for chunk in chunks], dim=0 if i else group.axis)
        return [found[name] for name in self.order]


class _Tensors:
    """The tensors of a residual network by layer."""

    def __init__(self, net: Any, cls: type[MainNetInterface], norms: bool) -> None:
        if not isinstance(net, cls):
            raise type_error("net", expected=f"a network of class {cls.__name__}", got=net)
        if net.context_mod_layers is not None:
            raise value_error("net", expected="a network without context modulation", found="one with")
        self.shapes = {r.label: list(r.shape) for r in net._ledger.records}
        self.norms = norms

    def layer(self, i: int) -> list[str]:
        """Names of the tensors of layer ``i``: weight, bias, batch-norm scale and shift, as far as there are any."""
        names = [f"layer{3 * i + 1}.weight", f"layer{3 * i + 1}.bias"]
        names += [f"layer{3 * i + 2}.bn_scale", f"layer{3 * i + 2}.bn_shift"] if self.norms else []
        return [name for name in names if name in self.shapes]

    def maps(self, i: int) -> tuple[int, int]:
        """Numbers of output and input feature maps of layer ``i``."""
        shape = self.shapes[f"layer{3 * i + 1}.weight"]
        return shape[0], shape[1]

    def whole(self, layers: Sequence[int]) -> LayerGroup:
        """The group in which each of ``layers``, which have the same shapes, is one chunk."""
        return LayerGroup([self.shapes[name] for name in self.layer(layers[0])], [(self.layer(i), 1) for i in layers])

    def cut(self, layers: Sequence[int], axis: int, size: int) -> LayerGroup:
        """The group in which weights are cut into pieces of ``size`` maps along ``axis``.

        Along the outputs (0) the other tensors of the layer are cut as well, along the inputs (1) each chunk has them
        all, of which all but those of the first chunk are waste.
        """
        weight, *others = (list(self.shapes[name]) for name in self.layer(layers[0]))
        weight[axis] = size
        shapes = [weight, *([size] if axis == 0 else other for other in others)]
        counts = [(self.layer(i), self.maps(i)[axis] // size) for i in layers]
        return LayerGroup(shapes, counts, axis, join_all=axis == 0)

    def chunking(self, groups: Sequence[LayerGroup]) -> Chunking:
        """What a structured hypernetwork needs to know of ``groups``."""
        made = {name for group in groups for names, _ in group.layers for name in names}
        order = [name for name in self.shapes if name in made]
        return [group.shapes for group in groups], [group.count for group in groups], ChunkAssembly(groups, order)


def resnet_chunking(net: ResNet, gcd_chunking: bool = False) -> Chunking:
    r"""Cut the weights of a :class:`~bayeshnet.mnets.ResNet` into chunks layer by layer.

    A chunk consists of a layer's weight and, if there are any, its bias and batch-norm scale and shift. Layers of the
    same shape are made by one internal hypernetwork, so there are eight: for the first convolution, for the first and
    for the other :math:`2n - 1` convolutions of each of the three groups, and for the output layer.

    Args:
        net: the network.
        gcd_chunking: whether the :math:`6n` convolutions of the groups are instead cut along their output maps into
            pieces as large as the greatest common divisor of all numbers of feature maps, made by four hypernetworks,
            one for each number of input maps.

    Returns:
        ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct`` for :class:`~bayeshnet.hnets.StructuredHMLP`; the
        tensors are those of ``net.param_shapes``, in order.

    Example:
        >>> from bayeshnet.mnets import ResNet
        >>> shapes, counts, _ = resnet_chunking(ResNet(n=2, verbose=False))
        >>> counts, shapes[1]
        ([1, 1, 3, 1, 3, 1, 3, 1], [[16, 16, 3, 3], [16], [16], [16]])
    """
    check_flags(gcd_chunking=gcd_chunking)
    tensors = _Tensors(net, ResNet, norms=True)
    n = net._n
    groups = [tensors.whole([0])]
    if gcd_chunking:
        maps = [tensors.maps(0)[0], *(tensors.maps(2 * n * g)[0] for g in (1, 2, 3))]
        size, start = math.gcd(*maps), 1
        for count in (1, 2 * n, 2 * n, 2 * n - 1):
            groups.append(tensors.cut(range(start, start + count), 0, size))
            start += count
    else:
        for g in range(3):
            first = 1 + 2 * n * g
            groups += [tensors.whole([first]), tensors.whole(range(first + 1, first + 2 * n))]
    return tensors.chunking([*groups, tensors.whole([6 * n + 1])])


def wrn_chunking(
    net: WRN,
    ignore_bn_weights: bool = True,
    ignore_out_weights: bool = True,
    gcd_chunking: bool = False,
    *,
    vertical_chunking: bool = False,
) -> Chunking:
    r"""Cut the weights of a :class:`~bayeshnet.mnets.WRN` into chunks as in "Economical ensembles with hypernetworks".

    With :math:`C_0` maps after the first convolution and :math:`C_1, C_2, C_3` in the three groups there are up to
    eleven layer groups, each made by an internal hypernetwork:

    ====== =================================================================================================
    0      the first convolution
    1,3,5  the first convolution of each group; merged with the next if :math:`C_i / C_{i-1}` is 1, 2 or 1/2, or
           with ``gcd_chunking``
    2,4,6  the other convolutions of each group; if all are merged, they are cut along their input maps into pieces
           of :math:`\min(C_{i-1}, C_i)` maps, or of their greatest common divisor with ``gcd_chunking``
    7,8,9  the convolutions of size 1 in the shortcut of each group, if there is one
    10     the output layer, unless ``ignore_out_weights``
    ====== =================================================================================================

    Where layers are cut along their inputs, each chunk has whole biases and batch-norm weights, of which only those of
    the layer's first chunk are used.

    Args:
        net: the network.
        ignore_bn_weights: whether batch-norm weights are left out.
        ignore_out_weights: whether the output layer is left out.
        gcd_chunking: whether layer groups 1, 3 and 5 are always merged.
        vertical_chunking: whether layer groups 2, 4 and 6 that stand alone are cut in halves along their input maps,
            as in the paper, where layer group 2 of WRN-28-10 has shape ``[160, 80, 3, 3]``. (Layers with an odd number
            of maps stay whole.)

    Returns:
        ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct`` for :class:`~bayeshnet.hnets.StructuredHMLP`; the
        tensors are those of ``net.param_shapes``, in order, without what is ignored.

    References:
        Sacramento, von Oswald, Kobayashi, Henning, Grewe, "Economical ensembles with hypernetworks", 2020.

    Example:
        >>> from bayeshnet.mnets import WRN
        >>> net = WRN(n=4, k=10, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False)
        >>> shapes, counts, _ = wrn_chunking(net, vertical_chunking=True)
        >>> [(shape[0], count) for shape, count in zip(shapes, counts)][2:4]
        [([160, 80, 3, 3], 14), ([320, 160, 3, 3], 15)]
    """
    check_flags(
        ignore_bn_weights=ignore_bn_weights,
        ignore_out_weights=ignore_out_weights,
        gcd_chunking=gcd_chunking,
        vertical_chunking=vertical_chunking,
    )
    tensors = _Tensors(net, WRN, norms=not ignore_bn_weights)
    n = net._n
    groups = [tensors.whole([0])]
    for g in range(3):
        first = 1 + 2 * n * g
        now, before = tensors.maps(first)
        ratio = max(now, before) / min(now, before)
        if ratio in (1, 2) or gcd_chunking:
            size = min(now, before) if ratio in (1, 2) else math.gcd(now, before)
            groups.append(tensors.cut(range(first, first + 2 * n), 1, size))
            continue
        others = range(first + 1, first + 2 * n)
        groups.append(tensors.whole([first]))
        halved = vertical_chunking and now % 2 == 0
        groups.append(tensors.cut(others, 1, now // 2) if halved else tensors.whole(others))
    skips = [f"skip{g}.weight" for g in (1, 2, 3) if f"skip{g}.weight" in tensors.shapes]
    groups += [LayerGroup([tensors.shapes[skip]], [([skip], 1)]) for skip in skips]
    return tensors.chunking(groups if ignore_out_weights else [*groups, tensors.whole([6 * n + 1])])
