"""Sizes of transposed convolutions that generate an image, computed from the image backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import check_ints, check_size, check_sizes, value_error

__all__ = ["DeconvPlan", "LayerPlan", "check_image", "plan_deconv"]

SMALLEST = 4
"""Smallest height and width of an input that a layer enlarges."""
LAST_FILTERS = 128
"""Default number of channels after the last hidden layer."""


@dataclass(frozen=True)
class LayerPlan:
    """A transposed convolution; sizes are ``(height, width)``.

    Its output is larger than ``size_out`` by one if a kernel of even size does not enlarge its input; the additional
    row or column is dropped.
    """

    channels: tuple[int, int]
    size_out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    output_padding: tuple[int, int]


@dataclass(frozen=True)
class DeconvPlan:
    """All layers of the network.

    Attributes:
        first: shape ``(channels, height, width)`` of the output of the fully connected layer.
        layers: the transposed convolutions.
        attention: indices of the layers that are followed by self-attention.
    """

    first: tuple[int, int, int]
    layers: tuple[LayerPlan, ...]
    attention: tuple[int, ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels after each hidden layer, the fully connected one first."""
        return (self.first[0], *(layer.channels[1] for layer in self.layers[:-1]))


def check_image(hyper_img_shape: Any) -> tuple[int, int, int]:
    """Return ``(width, height)`` or ``(width, height, channels)`` as ``(channels, height, width)``."""
    sizes = check_sizes("hyper_img_shape", hyper_img_shape, 1)
    if len(sizes) not in (2, 3):
        expected = "a tuple (width, height) or (width, height, channels)"
        raise value_error("hyper_img_shape", expected=expected, got=hyper_img_shape)
    width, height, channels = (*sizes, 1)[:3]
    return channels, height, width


def plan_deconv(
    image: tuple[int, int, int], num_layers: Any, num_filters: Any, kernel_size: Any, sa_units: Any
) -> DeconvPlan:
    """Plan ``num_layers`` layers, the first fully connected, that end in ``image`` ``(channels, height, width)``."""
    count = check_size("num_layers", num_layers, 2, "Without transposed convolutions use HMLP.") - 1
    filters = _filters(num_filters, count)
    kernels = _kernels(kernel_size, count)
    sizes = [image[1:]]
    for _ in range(count):
        sizes.insert(0, tuple(_halve(n) for n in sizes[0]))  # type: ignore[arg-type]
    layers = [
        _layer((filters[k], (*filters[1:], image[0])[k]), (sizes[k], sizes[k + 1]), kernels[k]) for k in range(count)
    ]
    return DeconvPlan((filters[0], *sizes[0]), tuple(layers), _attention(sa_units, filters))


def _halve(size: int) -> int:
    """Return half of ``size``, rounded up, or ``size`` itself if that would be too small."""
    half = (size + 1) // 2
    return half if half >= SMALLEST else size


def _layer(
    channels: tuple[int, int], sizes: tuple[tuple[int, ...], tuple[int, ...]], kernel: tuple[int, int]
) -> LayerPlan:
    """Plan the convolution from one size to the other.

    With stride ``s``, padding ``p``, kernel ``k`` and output padding ``o`` its output has size
    ``(in - 1) s - 2 p + k + o``.
    """
    stride, padding, extra = [], [], []
    for before, after, k in zip(*sizes, kernel, strict=True):
        s = 1 if before == after else 2
        missing = after - (before - 1) * s - k  # to be compensated by output padding minus twice the padding
        p = max(0, -missing // 2 if s == 1 else (1 - missing) // 2)
        stride.append(s)
        padding.append(p)
        extra.append(max(0, missing + 2 * p) if s == 2 else 0)
    return LayerPlan(channels, tuple(sizes[1]), kernel, tuple(stride), tuple(padding), tuple(extra))  # type: ignore[arg-type]


def _filters(num_filters: Any, count: int) -> list[int]:
    if num_filters is None:
        return [LAST_FILTERS * 2**k for k in range(count - 1, -1, -1)]
    return check_sizes("num_filters", num_filters, 1, count, "There is one for each hidden layer.")


def _kernels(kernel_size: Any, count: int) -> list[tuple[int, int]]:
    """Return kernel sizes ``(height, width)`` of all convolutions, from ``k``, ``(k_x, k_y)`` or a list of these."""
    per_layer = list(kernel_size) if isinstance(kernel_size, list) else [kernel_size] * count
    if len(per_layer) != count:
        raise value_error("kernel_size", expected=f"a list of {count} sizes, one for each convolution", got=kernel_size)
    kernels = []
    for size in per_layer:
        pair: Sequence[Any] = size if isinstance(size, (list, tuple)) else (size, size)
        if len(pair) != 2:
            raise value_error(
                "kernel_size", expected="a number, a tuple (k_x, k_y), or a list of these", got=kernel_size
            )
        k_x, k_y = [check_size("kernel_size", k, 1) for k in pair]
        kernels.append((k_y, k_x))
    return kernels


def _attention(sa_units: Any, filters: Sequence[int]) -> tuple[int, ...]:
    units = tuple(check_ints("sa_units", sa_units, 0))
    for unit in units:
        if unit >= len(filters):
            raise value_error(
                "sa_units",
                expected=f"indices of hidden layers, 0 to {len(filters) - 1}",
                got=sa_units,
                hint="No self-attention follows the last layer.",
            )
        if filters[unit] < 8:
            raise value_error(
                "sa_units", expected="layers of at least 8 filters", found=f"layer {unit} with {filters[unit]}"
            )
    if len(set(units)) < len(units):
        raise value_error("sa_units", expected="distinct layer indices", got=sa_units)
    return units
