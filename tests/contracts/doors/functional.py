"""Doors of :mod:`bayeshnet.functional`."""

from __future__ import annotations

import torch
from torch import nn

from bayeshnet.mnets import MLP
from tests.support.doors import Door

_NET = MLP(3, 2, [4], no_weights=True, verbose=False)
_ARGUMENTS = {
    "net": _NET,
    "weights": torch.randn(5, _NET.num_params),
    "x": torch.randn(4, 3),
    "strategy": "auto",
    "chunk_size": 2,
    "per_sample_inputs": False,
    "condition": None,
    "distilled_params": None,
}

DOORS: dict[str, Door] = {
    "batched_forward": Door(_ARGUMENTS, hot=True),
    "parameter_places": Door({"module": nn.Linear(2, 2)}),
}
