"""Doors of :mod:`bayeshnet.geometry`."""

from __future__ import annotations

import torch

from bayeshnet.geometry import ConstantGeometry, Selection
from bayeshnet.hnets import HMLP
from tests.support.doors import Door

_HEAD = HMLP([[6]], uncond_in_size=2, cond_in_size=0, layers=[3], verbose=False).geometry()
_PARTS = [ConstantGeometry(torch.ones(2), 3), ConstantGeometry(torch.ones(1), 3)]
_SELECTION = Selection.of(torch.tensor([2, 0]), [2, 1])


def _double(z: torch.Tensor) -> torch.Tensor:
    return torch.sin(z).repeat(1, 2)


DOORS: dict[str, Door] = {
    "ConstantGeometry": Door({"value": torch.ones(4), "latent_size": 3}),
    "EmbeddedGeometry": Door({"inner": _PARTS[0], "places": torch.tensor([3, 1]), "num_weights": 5}),
    "Geometry": Door(closed="abstract"),
    "HeadGeometry": Door({"body": _HEAD.body, "weight": torch.ones(6, 3), "bias": torch.ones(6), "num_weights": 6}),
    "JacobianGeometry": Door(
        {
            "fn": _double,
            "latent_size": 3,
            "num_weights": 6,
            "like": torch.ones(2),
            "chunk_size": 2,
            "vectorize": True,
            "part": lambda z, start, stop: _double(z)[..., start:stop],
            "unit": 2,
        }
    ),
    "Selection": Door({"index": torch.tensor([2, 0]), "sizes": (2, 1), "counts": (1, 1), "injective": True}),
    "Selection.of": Door({"index": torch.tensor([2, 0]), "sizes": [2, 1]}),
    "SelectionGeometry": Door({"parts": _PARTS, "selection": _SELECTION}),
}
