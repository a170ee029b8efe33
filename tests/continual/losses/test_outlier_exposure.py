"""Pseudo-outliers: each kind is made of the right halves."""

from __future__ import annotations

import math

import pytest
import torch

from bayeshnet.continual import NoiseOutliers, PatchOutliers


@pytest.mark.parametrize("turned", [False, True])
def test_kinds_are_joined_mirrored_and_exchanged(turned):
    """The second half of a batch is cut along its height and comes first, the first half along its width."""
    x = torch.arange(12 * 2 * 4 * 4.0).view(12, 2, 4, 4)
    made = PatchOutliers().make(x, torch.Generator().manual_seed(0))
    made, images = (made[6:].mT, x[:6].mT) if turned else (made[:6], x[6:])
    for i in (0, 3):  # joined: own upper half, the lower half of some image of the batch
        assert torch.equal(made[i, :, :2], images[i, :, :2])
        assert any(torch.equal(made[i, :, 2:], images[j, :, 2:]) for j in range(6))
    assert any(not torch.equal(made[i, :, 2:], images[i, :, 2:]) for i in (0, 3))
    for i in (1, 4):
        assert torch.equal(made[i, :, :2], images[i, :, :2].flip(-1))
        assert torch.equal(made[i, :, 2:], images[i, :, 2:])
    for i in (2, 5):
        assert torch.equal(made[i, :, :2], images[i, :, 2:])
        assert torch.equal(made[i, :, 2:], images[i, :, :2])


@pytest.mark.parametrize("shape", [(9, 64), (7, 1, 8, 8), (5, 3, 6, 4), (4, 10), (1, 64), (8, 6, 6)])
def test_shapes_are_kept_and_pixels_are_the_batch_s(shape):
    x = torch.rand(shape)
    made = PatchOutliers().make(x, torch.Generator().manual_seed(0))
    assert made.shape == x.shape
    assert torch.isin(made, x).all()


@pytest.mark.parametrize("side", [2, 4])
def test_left_and_right_halves_are_cut_too(side):
    x, half = torch.arange(8.0 * side**2).view(8, -1), side // 2
    made = PatchOutliers().make(x, torch.Generator().manual_seed(0)).view(8, side, side)
    images = x.view(8, side, side)
    columns = [i for i in range(8) for j in range(8) if torch.equal(made[i][:, :half], images[j][:, half:])]
    rows = [i for i in range(8) for j in range(8) if torch.equal(made[i][:half], images[j][half:])]
    assert columns
    assert rows


@pytest.mark.parametrize("shape", [(6, 5), (6, 1, 7, 1), (6, 1, 2, 2), (6, 10)])
def test_what_is_made_is_no_example_already(shape):
    """Images joined with themselves are, and columns, which have nothing to mirror; across no column is cut."""
    x = torch.arange(float(math.prod(shape))).view(shape)
    columns = shape != (6, 1, 2, 2)
    for seed in range(5):
        made = PatchOutliers().make(x, torch.Generator().manual_seed(seed))
        whole = {i for i in range(6) if any(torch.equal(made[i], image) for image in x)}
        assert whole <= {i for i in range(6) if i % 3 == 0 or (columns and i % 3 == 1)}


def test_the_same_seed_makes_the_same_outliers():
    x = torch.rand(12, 64)
    first, second = (PatchOutliers().make(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_noise_stays_in_its_box():
    x = torch.rand(50, 3) * torch.tensor([1.0, 2.0, 3.0])
    made = NoiseOutliers(margin=0.5).make(x, torch.Generator().manual_seed(0))
    low, high = x.amin(0), x.amax(0)
    assert (made >= low - 0.5 * (high - low)).all()
    assert (made <= high + 0.5 * (high - low)).all()
    assert ((made < low) | (made > high)).any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="weight"):
        PatchOutliers(weight=-1)
    with pytest.raises(ValueError, match=r"image_shape: expected .* 64"):
        PatchOutliers(image_shape=(4, 4)).make(torch.rand(3, 64))
