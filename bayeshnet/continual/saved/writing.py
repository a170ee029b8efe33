"""Writing a learner's state into a folder: tensors and a record, in a pair of files that is complete or not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import __version__
from ...errors import value_error
from ...inference import save_checkpoint
from .describing import Description
from .shape import TaskShape

__all__ = ["FORMAT", "Holder", "newest", "write_state"]

FORMAT = 1
"""Number of the format of the files; a later one may hold what this version does not know."""

_STEM = re.compile(r"^state-(\d{1,9})\.json$")


class Holder(nn.Module):
    """A state and the modules among the settings of its learner, as one module that is saved and loaded.

    Args:
        state: the state.
        settings: the modules, in the order of their description.
    """

    def __init__(self, state: nn.Module, settings: list[nn.Module]) -> None:
        super().__init__()
        self.state = state
        self.settings = nn.ModuleList(settings)


def newest(folder: Path) -> tuple[Path | None, int]:
    """Return the pair of files that was completed last, without suffix, and its number; None and 0 if there is none."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    number = max((int(found.group(1)) for found in map(_STEM.match, names) if found), default=0)
    return (folder / f"state-{number}", number) if number else (None, 0)


def write_state(folder: str | Path, state: Any, shape: TaskShape, learner: Description) -> Path:
    """Write a state and the description of its learner into a folder.

    The pair of files has a new number and its record is written last, so that a save which is interrupted leaves the
    previous pair as it was; that is removed when the new one is complete. Other files of the folder are left alone.

    Args:
        folder: the folder, which is created if necessary.
        state: the state of a learner.
        shape: of its tasks.
        learner: description of the learner.

    Returns:
        The folder.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise value_error("folder", expected="a folder, or a path where there is nothing yet", got=str(folder))
    old, number = newest(folder)
    record = {
        "holds": "state of a learner",
        "state_format": FORMAT,
        "versions": {"bayeshnet": __version__, "torch": torch.__version__},
        "learner": learner.value,
        "own": learner.own,
        "shape": shape.to_dict(),
        "num_tasks": state.num_tasks,
        "labels": [list(labels) for labels in state.labels],
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / f"state-{number + 1}", Holder(state, learner.modules), record)
    if old is not None:
        for suffix in (".json", ".safetensors"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return folder
