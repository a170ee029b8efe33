"""Layer sizes, modulation and batch norm of residual networks."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import check_flags, check_size, check_sizes
from ..mnet_interface import MainNetInterface
from .declarations import add_batch_norm
from .modulation import Modulation, add_context_mod

__all__ = ["STRIDES", "add_norms", "check_maps", "layer_outputs"]

STRIDES = (1, 1, 2, 2)
"""Stride of the first convolution, and of the first one in each of the three groups."""


def check_maps(num_feature_maps: Sequence[int], k: int) -> list[int]:
    """Return the feature maps of the first convolution and, times ``k``, of the three groups."""
    maps = check_sizes("num_feature_maps", num_feature_maps, 1, count=4)
    return [maps[0], *(check_size("k", k, 1) * m for m in maps[1:])]


def layer_outputs(in_shape: tuple[int, int, int], maps: Sequence[int], n: int, num_classes: int) -> list[list[int]]:
    """Return the shapes ``(C, H, W)`` of the outputs of all ``6n + 1`` convolutions, and of the output layer."""
    height, width, _ = in_shape
    outputs: list[list[int]] = []
    for group, (channels, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        # Kernels of size 3 with padding 1 keep the size up to the stride.
        height, width = (height - 1) // stride + 1, (width - 1) // stride + 1
        outputs += [[channels, height, width]] * (2 * n if group else 1)
    return [*outputs, [num_classes]]


def add_norms(
    net: MainNetInterface,
    options: Modulation,
    in_shape: tuple[int, int, int],
    outputs: Sequence[Sequence[int]],
    *,
    batch_norm: bool,
    no_weights: bool,
    track: bool,
    distill: bool,
) -> None:
    """Add modulation (layers 0, 3, 6, ...) and batch norm (layers 2, 5, 8, ...) of a residual network."""
    check_flags(use_batch_norm=batch_norm, bn_track_stats=track, distill_bn_stats=distill)
    height, width, channels = in_shape
    shapes = options.shapes([channels, height, width], outputs)
    numbers = [0] * options.context_mod_inputs + list(range(3, 3 * len(outputs) + 1, 3))
    add_context_mod(net, options, shapes, numbers[: len(shapes)])
    if batch_norm:
        sizes = [shape[0] for shape in outputs[:-1]]
        add_batch_norm(
            net, sizes, list(range(2, 3 * len(sizes) + 1, 3)), no_weights=no_weights, track=track, distill=distill
        )
