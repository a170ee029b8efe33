"""Doors of :mod:`bayeshnet.parallel`."""

from __future__ import annotations

from bayeshnet.parallel import Alone
from tests.support.doors import Door

DOORS: dict[str, Door] = {
    "Alone": Door({}),
    "ProcessLostError": Door(closed="an error"),
    "Processes": Door(closed="abstract"),
    "launched": Door({"devices": 1, "nodes": 1, "device": "cpu", "share": "data"}),
    "processes": Door({}),
    "using": Door({"group": Alone()}),
}
