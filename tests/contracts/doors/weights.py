"""Doors of :mod:`bayeshnet.weights`."""

from __future__ import annotations

import torch
from torch import nn

from bayeshnet.weights import WeightEntry, WeightSpec
from tests.support.doors import Door


def _spec() -> WeightSpec:
    return WeightSpec.of_shapes([[2, 3], [2]])


DOORS: dict[str, Door] = {
    "WeightEntry": Door({"name": "w", "shape": (2, 3), "role": "weight", "fan_in": 3, "last": False}),
    "WeightSpec": Door({"entries": (WeightEntry("w", (2, 3)), WeightEntry("b", (2,), "bias"))}),
    "WeightSpec.of": Door({"module": nn.Linear(3, 2), "predicate": None}),
    "WeightSpec.of_shapes": Door({"shapes": [[2, 3], [2]], "names": ["w", "b"], "roles": ["weight", "bias"]}),
    "WeightSpec.slice": Door({"name": "w0"}, of=_spec),
    "WeightSpec.unflatten": Door({"flat": torch.randn(4, 8)}, of=_spec, hot=True),
    "WeightSpec.split": Door({"flat": torch.randn(4, 8)}, of=_spec, hot=True),
    "WeightSpec.flatten": Door({"tensors": [torch.randn(4, 2, 3), torch.randn(4, 2)]}, of=_spec, hot=True),
    "WeightSpec.whitening": Door(
        {"gain": 1.4, "last_gain": 1.0, "bias": 0.1, "dtype": torch.float32, "device": None}, of=_spec
    ),
}
