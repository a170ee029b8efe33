"""Features show their settings, and maps their sizes."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.features import FeatureCache, Frozen, PatchFilters, RandomFourier, RandomProjection
from bayeshnet.representation import settings_of

SHOWN = [
    FeatureCache(),
    Frozen(torch.nn.Linear(2, 2)),
    PatchFilters(5),
    RandomFourier(7),
    RandomProjection(9, on=RandomFourier(7)),
]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: type(shown).__name__)
def test_settings_are_shown(shown):
    text = repr(shown)
    assert text.startswith(f"{type(shown).__name__}(")
    assert all(f"{name}=" in text for name in settings_of(shown))


def test_maps_show_their_sizes():
    assert "input_shape=(3,), num_features=7" in repr(RandomFourier(7).fit(torch.randn(4, 3)))
