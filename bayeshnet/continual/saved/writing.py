"""Writing a learner's state into a folder: tensors and a record, in a pair of files that is complete or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import __version__
from ...saving import Description
from ...saving.describing import warn_of_parts
from ...saving.pairs import write_pair
from .shape import TaskShape

__all__ = ["FORMAT", "STEM", "Holder", "write_state"]

FORMAT = 1
"""Number of the format of the files; a later one may hold what this version does not know."""

STEM = "state"
"""Beginning of the names of the files."""


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


def write_state(folder: str | Path, state: Any, shape: TaskShape, learner: Description) -> Path:
    """Write a state and the description of its learner into a folder.

    The pair of files has a new number and its record is written last, so that a save which is interrupted leaves the
    previous pair as it was; that is removed when the new one is complete. Other files of the folder are left alone. A
    warning names the parts of the learner that have to be given again.

    Args:
        folder: the folder, which is created if necessary.
        state: the state of a learner.
        shape: of its tasks.
        learner: description of the learner.

    Returns:
        The folder.
    """
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
    written = write_pair(folder, STEM, Holder(state, learner.modules), record)
    warn_of_parts(written, "load_state(folder, learner=...)", learner.own)
    return written
