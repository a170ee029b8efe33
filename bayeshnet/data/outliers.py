"""Out-of-distribution (OOD) inputs, which belong to none of the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import check_data, check_seed
from ..errors import check_finite, check_floating, check_int, value_error

__all__ = ["image_outliers", "inverted", "resized", "shuffled", "uniform_noise"]


def uniform_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw independent uniform values in [0, 1] in the shape of ``like``."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype)


def inverted(x: Tensor) -> Tensor:
    """Invert images: ``1 - x`` for inputs in [0, 1]."""
    return 1 - x


def shuffled(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Shuffle the entries of each input by a permutation of its own, which keeps the histogram."""
    order = torch.rand(x.flatten(1).shape, generator=generator).argsort(1)
    return x.flatten(1).gather(1, order).reshape(x.shape)


def resized(x: Tensor, image_shape: Sequence[int], size: Sequence[int]) -> Tensor:
    """Resize flattened or ``(N, C, H, W)`` images to ``size = (height, width)``, bilinearly.

    Example:
        >>> resized(torch.rand(2, 64), (1, 8, 8), (28, 28)).shape
        torch.Size([2, 1, 28, 28])
    """
    if math.prod(image_shape) != x[0].numel():
        raise value_error(
            "image_shape", expected=f"(channels, height, width) that hold {x[0].numel()} values", got=image_shape
        )
    images = x.reshape(-1, *image_shape)
    return torch.nn.functional.interpolate(images, size=tuple(size), mode="bilinear", align_corners=False)


def image_outliers(x: Tensor, most: int = 1000, seed: int = 0) -> dict[str, Tensor]:
    """Make OOD inputs from images ``x`` in [0, 1]: ``noise``, ``inverted`` and ``shuffled``.

    Args:
        x: images of any shape ``(N, ...)``.
        most: largest number of inputs of each kind.
        seed: seed of the random choices.

    Example:
        >>> sorted(image_outliers(torch.rand(5, 64)))
        ['inverted', 'noise', 'shuffled']
    """
    if check_data("x", check_floating("x", x)).ndim < 2 or not len(x):
        raise value_error("x", expected="images (N, ...) in [0, 1], at least one", got=x)
    check_finite("x", x)
    check_int("most", most, 1)
    generator = torch.Generator().manual_seed(check_seed("seed", seed))
    chosen = x[torch.randperm(len(x), generator=generator)[:most]]
    return {
        "noise": uniform_noise(chosen, generator),
        "inverted": inverted(chosen),
        "shuffled": shuffled(chosen, generator),
    }
