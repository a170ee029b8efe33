"""Doors of :mod:`bayeshnet.layers`."""

from __future__ import annotations

from typing import Any

import torch

from bayeshnet.layers import SelfAttnLayerV2
from tests.support.doors import Door

_BATCH_NORM: dict[str, Any] = {
    "num_features": 3,
    "momentum": 0.1,
    "affine": True,
    "track_running_stats": True,
    "frozen_stats": False,
    "learnable_stats": False,
}
_MODULATION: dict[str, Any] = {
    "num_features": (3,),
    "no_weights": False,
    "no_gains": False,
    "no_shifts": False,
    "apply_gain_offset": False,
    "apply_gain_softplus": False,
    "softplus_scale": 1.0,
}
_ATTENTION = [torch.ones(s) for s in SelfAttnLayerV2(8, False).weight_shapes]

DOORS: dict[str, Door] = {
    "BatchNormLayer": Door(_BATCH_NORM),
    "ContextModLayer": Door(_MODULATION),
    "GaussianBump": Door(),
    "SelfAttnLayerV2": Door(
        {"in_dim": 8, "use_spectral_norm": False, "no_weights": False, "init_weights": _ATTENTION},
    ),
    "SpectralNorm": Door({"shape": (4, 3), "num_iters": 1, "dim": 0}),
    "calc_fan_in_and_out": Door({"shapes": [16, 3, 5, 5]}),
    "init_params": Door({"weights": torch.ones(4, 3), "bias": torch.ones(4), "generator": None}, random=True),
    "xavier_fan_in_": Door({"tensor": torch.ones(4, 3), "generator": None}, random=True),
}
