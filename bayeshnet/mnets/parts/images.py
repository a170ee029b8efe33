"""Classifiers of images: the shape and the layout of their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import check_choice, check_int, check_shape, type_error, value_error
from ..mnet_interface import MainNetInterface

__all__ = ["LAYOUTS", "ImageClassifier", "check_image_shape", "check_layout", "to_maps"]

LAYOUTS = ("HWC", "CHW")
"""Orders of the dimensions of an image: rows, columns and channels, or channels first, as in torch."""


class ImageClassifier(MainNetInterface):
    """A network from images, flattened or not, to logits ``(N, num_classes)``; see :func:`to_maps` for their layout."""

    _in_shape: tuple[int, int, int]
    _num_classes: int
    _layout: str | None = None

    @property
    def num_classes(self) -> int:
        """Number of outputs."""
        return self._num_classes

    @property
    def layout(self) -> str | None:
        """Layout in which inputs are read: one of :data:`LAYOUTS`, or None where it was left open."""
        return self._layout

    def read_as(self, layout: str) -> None:
        """Read inputs in the layout of the data from now on; refuse another one than the network was made for."""
        check_choice("layout", layout, LAYOUTS)
        # Images of one channel are the same numbers in either layout.
        if self._layout not in (None, layout) and self._in_shape[2] > 1:
            raise value_error(
                "layout",
                expected=f"a network for the layout {layout!r} of the data",
                got=self._layout,
                hint=f"Build the network with layout={layout!r}, or leave its layout open.",
            )
        self._layout = layout


def check_image_shape(in_shape: Sequence[int], exactly: Sequence[int] | None = None) -> tuple[int, int, int]:
    """Return the shape ``(H, W, C)`` of an input image; refuse others than ``exactly`` unless that is None."""
    if isinstance(in_shape, (int, str)) or not hasattr(in_shape, "__len__"):
        raise type_error("in_shape", expected="three integers (H, W, C)", got=in_shape)
    if len(in_shape) != 3:
        raise value_error("in_shape", expected="three integers (H, W, C)", got=in_shape)
    height, width, channels = (check_int("in_shape", n, 1) for n in in_shape)
    if exactly is not None and (height, width, channels) != tuple(exactly):
        raise value_error("in_shape", expected=f"{tuple(exactly)} for this architecture", got=tuple(in_shape))
    return height, width, channels


def check_layout(layout: Any) -> str | None:
    """Return the layout if it is one of :data:`LAYOUTS` or None."""
    return None if layout is None else str(check_choice("layout", layout, LAYOUTS, "Or None, to leave it open."))


def to_maps(x: Any, in_shape: tuple[int, int, int], layout: str | None = None) -> Tensor:
    """Turn images into feature maps ``(N, C, H, W)``.

    Args:
        x: images ``(N, H, W, C)`` or ``(N, C, H, W)``, or flattened ones ``(N, H * W * C)``; ``(N, H, W)`` if there is
            one channel.
        in_shape: ``(H, W, C)``.
        layout: ``"HWC"`` or ``"CHW"``: the order of the dimensions, also of flattened images, and no other is taken.
            With None either is recognized by its shape; what fits both, as flattened images do, is read as ``"HWC"``.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 3, 8, 8)
        >>> torch.equal(to_maps(x, (8, 8, 3)), to_maps(x.permute(0, 2, 3, 1), (8, 8, 3)))
        True
    """
    if not isinstance(x, Tensor):
        raise type_error("x", expected="images in one tensor", got=x)
    height, width, channels = in_shape
    last, first = (height, width, channels), (channels, height, width)
    if x.ndim == 4:
        if layout is not None:
            check_shape("x", x, (None, *(first if layout == "CHW" else last)), f"The layout is {layout!r}.")
        if tuple(x.shape[1:]) == last and layout != "CHW":
            return x.permute(0, 3, 1, 2)
        if tuple(x.shape[1:]) == first:
            return x
    elif tuple(x.shape[1:]) in ((math.prod(in_shape),), (height, width) if channels == 1 else ()):
        return x.reshape(-1, *first) if layout == "CHW" else x.reshape(-1, *last).permute(0, 3, 1, 2)
    raise value_error("x", expected=f"images {last} or {first}, flattened or not", got=x)
