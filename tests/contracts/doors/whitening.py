"""Doors of :mod:`bayeshnet.whitening`."""

from __future__ import annotations

import torch

from tests.support.doors import Door

DOORS: dict[str, Door] = {"Whitening": Door({"loc": torch.zeros(8), "scale": torch.ones(8)})}
