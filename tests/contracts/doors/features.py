"""Doors of :mod:`bayeshnet.features`."""

from __future__ import annotations

import torch
from torch import nn

from bayeshnet.features import FeatureCache, PatchFilters, RandomFourier, RandomProjection
from tests.support.doors import Door

_X = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
_IMAGES = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def _nothing(result):
    return ()


DOORS: dict[str, Door] = {
    "FeatureCache": Door({"limit": 100, "folder": None, "chunk_size": 5, "size": 2}),
    "FeatureCache.of": Door({"features": RandomFourier(4).fit(_X), "x": _X}, of=FeatureCache, read=_nothing),
    "FeatureMap": Door(closed="abstract"),
    "Features": Door(closed="abstract"),
    "Frozen": Door({"module": nn.Sequential(nn.Linear(3, 2)), "at": ("0",), "dtype": None, "pool": (2,)}),
    "PatchFilters": Door(
        {
            "num_filters": 3,
            "patch_size": 2,
            "grid": 2,
            "threshold": 0.25,
            "epsilon": 0.1,
            "root": True,
            "mirror": True,
            "contrast": 0.2,
            "image_shape": (1, 6, 6),
        }
    ),
    "PatchFilters.fit": Door(
        {"x": _IMAGES, "layout": None, "seed": 0}, of=lambda: PatchFilters(3, patch_size=2), read=_nothing
    ),
    "RandomFourier": Door({"num_features": 4, "lengthscale": 0.5}),
    "RandomFourier.fit": Door({"x": _X, "layout": None, "seed": 0}, of=lambda: RandomFourier(4), read=_nothing),
    "RandomProjection": Door({"num_features": 4, "on": RandomFourier(4), "rectified": True, "bias": 0.3}),
    "RandomProjection.fit": Door({"x": _X, "layout": None, "seed": 0}, of=lambda: RandomProjection(4), read=_nothing),
}
