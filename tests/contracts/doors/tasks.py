"""Doors of :mod:`bayeshnet.tasks`."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset

from bayeshnet.tasks import Split, Task, TaskStream
from tests.support.doors import Door

_CLASSES = Split(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))
_TASK = Task("first", _CLASSES, _CLASSES, 2, validation=_CLASSES)


def _stream() -> TaskStream:
    return TaskStream([_TASK, _TASK])


DOORS: dict[str, Door] = {
    "DatasetInputs": Door(
        {"dataset": TensorDataset(_CLASSES.x, _CLASSES.y), "device": "cpu", "dtype": torch.float64}, read=lambda x: ()
    ),
    "Split": Door({"x": torch.randn(4, 3), "y": torch.tensor([0, 1, 1, 0])}),
    "Split.to": Door({"device": "cpu", "dtype": torch.float64}, of=lambda: _CLASSES),
    "Task": Door(
        {
            "name": "first",
            "train": _CLASSES,
            "test": _CLASSES,
            "num_outputs": 2,
            "kind": "classification",
            "labels": (3, 4),
            "validation": _CLASSES,
            "info": {"noise_std": 0.1},
        }
    ),
    "Task.judged_on": Door({"split": "test"}, of=lambda: _TASK),
    "Task.to": Door({"device": "cpu", "dtype": torch.float64}, of=lambda: _TASK),
    "TaskStream": Door(
        {
            "tasks": [_TASK, _TASK],
            "name": "stream",
            "scenario": "task",
            "outliers": {"noise": torch.randn(4, 3)},
        }
    ),
    "TaskStream.reordered": Door({"order": [1, 0]}, of=_stream),
    "TaskStream.judged_on": Door({"split": "test"}, of=_stream),
    "TaskStream.to": Door({"device": "cpu", "dtype": torch.float64}, of=_stream),
}
