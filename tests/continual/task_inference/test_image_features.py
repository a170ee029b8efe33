"""Features of images against means over cells, one after the other."""

import math

import pytest
import torch

from bayeshnet.continual.task_inference.image_features import ImageFeatures


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_signed_roots_of_means_over_cells(channels):
    """Normalized images have negative values: those keep their sign."""
    image = torch.randn(channels, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gray = image.mean(0)
    maps = [*image, *(torch.zeros(4, 6, dtype=torch.float64) for _ in range(4))]
    for i in range(4):
        for j in range(6):
            across = float(gray[i, min(j + 1, 5)] - gray[i, max(j - 1, 0)]) / 2
            along = float(gray[min(i + 1, 3), j] - gray[max(i - 1, 0), j]) / 2
            for k, value in enumerate((across, -across, along, -along)):
                maps[channels + k][i, j] = max(0.0, value)
    expected = []
    for plane in maps:
        for rows in (slice(0, 2), slice(2, 4)):
            for columns in (slice(0, 3), slice(3, 6)):
                mean = float(plane[rows, columns].mean())
                expected.append(math.copysign(math.sqrt(abs(mean)), mean))
    found = ImageFeatures((channels, 4, 6), 2)(image[None])
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))
    assert min(expected) < 0
