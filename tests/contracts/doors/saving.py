"""Doors of :mod:`bayeshnet.saving`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from bayeshnet.saving import save, save_checkpoint
from tests.support.doors import Door

_NET = nn.Linear(3, 2)
_FOLDER = tempfile.TemporaryDirectory()


def _saved() -> str:
    path = Path(_FOLDER.name) / "saved"
    if not path.with_suffix(".json").exists():
        save_checkpoint(path, _NET, {"seed": 1})
    return str(path)


def _folder() -> str:
    path = Path(_FOLDER.name) / "folder"
    if not path.exists():
        save(_NET, path)
    return str(path)


DOORS: dict[str, Door] = {
    "Description": Door(closed="a record that describe makes"),
    "describe": Door({"thing": {"net": _NET}, "name": "thing", "parts": True}, read=lambda found: ()),
    "load": Door(
        lambda: {"folder": _folder(), "module": None, "allow": ["tests"], "device": torch.device("cpu")},
        also=(FileNotFoundError,),
        read=lambda found: (),
    ),
    "load_checkpoint": Door(lambda: {"path": _saved(), "module": _NET}, also=(FileNotFoundError,)),
    "save": Door(lambda: {"thing": {"net": _NET}, "folder": "things"}, read=lambda found: ()),
    "save_checkpoint": Door(lambda: {"path": "saved", "module": _NET, "record": {"seed": 1}}),
}
