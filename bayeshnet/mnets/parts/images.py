"""Classifiers of images: the shape and the layout of their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ...errors import check_size, type_error, value_error
from ..mnet_interface import MainNetInterface

__all__ = ["ImageClassifier", "check_image_shape", "to_maps"]


class ImageClassifier(MainNetInterface):
    """A network from images ``(N, H, W, C)``, flattened or not, to logits ``(N, num_classes)``."""

    _in_shape: tuple[int, int, int]
    _num_classes: int

    @property
    def num_classes(self) -> int:
        """Number of outputs."""
        return self._num_classes


def check_image_shape(in_shape: Sequence[int], exactly: Sequence[int] | None = None) -> tuple[int, int, int]:
    """Return the shape ``(H, W, C)`` of an input image; refuse others than ``exactly`` unless that is None."""
    if isinstance(in_shape, (int, str, Tensor)) or not hasattr(in_shape, "__len__"):
        raise type_error("in_shape", expected="three integers (H, W, C)", got=in_shape)
    if len(in_shape) != 3:
        raise value_error("in_shape", expected="three integers (H, W, C)", got=in_shape)
    height, width, channels = (check_size("in_shape", n, 1) for n in in_shape)
    if exactly is not None and (height, width, channels) != tuple(exactly):
        raise value_error("in_shape", expected=f"{tuple(exactly)} for this architecture", got=tuple(in_shape))
    return height, width, channels


def to_maps(x: Tensor, in_shape: tuple[int, int, int]) -> Tensor:
    """Turn images, flat or ``(N, H, W, C)``, into feature maps ``(N, C, H, W)``."""
    height, width, channels = in_shape
    if not isinstance(x, Tensor):
        raise type_error("x", expected=f"images ({height}, {width}, {channels}), flattened or not", got=x)
    if x.ndim < 2 or math.prod(x.shape[1:]) != height * width * channels:
        raise value_error("x", expected=f"images ({height}, {width}, {channels}), flattened or not", got=x)
    return x.reshape(-1, *in_shape).permute(0, 3, 1, 2)
