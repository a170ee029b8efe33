"""Fixed features of images for the densities of inputs: local brightness and edge directions on a coarse grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import check_int, value_error
from ...representation import ModuleSettings

__all__ = ["ImageFeatures"]


class ImageFeatures(ModuleSettings, nn.Module):
    r"""Square roots of the mean brightness and of the mean edge strength in four directions, cell by cell of a grid.

    The density of pixels under a Gaussian is sensitive to a shift by one pixel; means over the cells of a coarse grid
    are not. Edges distinguish shapes better than brightness does, and the square root makes the variances of bright and
    dark cells more alike. The features are not learned, so they cannot be forgotten.

    Args:
        image_shape: ``(channels, height, width)``.
        grid: number of cells along each side, at most half the number of pixels.

    Shape:
        ``(N, *input_shape)`` with as many values as an image -> ``(N, (channels + 4) * grid * grid)``.

    References:
        Histograms of Oriented Gradients for Human Detection (Dalal, Triggs; 2005).

    Example:
        >>> ImageFeatures((1, 28, 28))(torch.rand(2, 784)).shape
        torch.Size([2, 245])
    """

    def __init__(self, image_shape: Sequence[int], grid: int = 7) -> None:
        super().__init__()
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise value_error("image_shape", expected="(channels, height, width)", got=tuple(image_shape))
        self.image_shape = tuple(int(n) for n in image_shape)
        self.grid = min(check_int("grid", grid, 1), *(max(1, n // 2) for n in self.image_shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features of the images ``x``."""
        if math.prod(x.shape[1:]) != math.prod(self.image_shape):
            raise value_error("x", expected=f"images of shape {self.image_shape}, flattened or not", got=x)
        images = x.reshape(len(x), *self.image_shape)
        brightness = images.mean(1, keepdim=True)
        padded = F.pad(brightness, (1, 1, 1, 1), mode="replicate")
        across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
        along = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
        maps = torch.cat([images, across.relu(), (-across).relu(), along.relu(), (-along).relu()], dim=1)
        cells = F.adaptive_avg_pool2d(maps, self.grid).flatten(1)
        return cells.sign() * cells.abs().sqrt()
