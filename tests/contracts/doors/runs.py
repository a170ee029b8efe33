"""Doors of :mod:`bayeshnet.runs`."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Separate, Training
from bayeshnet.data import modes2d
from bayeshnet.runs import Experiment, run_experiment
from tests.support.doors import Door

_LEARNER = Separate(MLPNetwork((2,)), MeanFieldWeights(), training=Training(steps=1), num_samples=2)
_OPTIONS: dict[str, Any] = {"num_train": 3, "num_test": 3, "num_tasks": 1}
_FOLDER = tempfile.TemporaryDirectory()


def _experiment() -> Experiment:
    return Experiment(_LEARNER, "modes2d", data_options=_OPTIONS, device="cpu")


@cache
def _folder() -> str:
    run_experiment(_experiment(), f"{_FOLDER.name}/run")
    return f"{_FOLDER.name}/run"


DOORS: dict[str, Door] = {
    "Assessment": Door(closed="a record that runs make"),
    "CSVLogger": Door({"folder": "logs"}),
    "ClassificationScores": Door(closed="a record that runs make"),
    "Experiment": Door(
        {
            "learner": _LEARNER,
            "data": "modes2d",
            "data_dir": None,
            "data_options": _OPTIONS,
            "method": "separate",
            "seed": 0,
            "device": "cpu",
            "threads": 1,
            "judge_on": "test",
        }
    ),
    "Listener": Door(closed="a protocol"),
    "MetricLogger": Door(closed="a protocol"),
    "RegressionScores": Door(closed="a record that runs make"),
    "RunFolder": Door({"path": "run"}),
    "TensorBoardLogger": Door({"folder": "logs"}),
    "TrainedRun": Door(closed="a record that run_experiment makes"),
    "available": Door({}),
    "load_run": Door(
        lambda: {"folder": _folder(), "experiment": _experiment(), "device": "cpu", "allow": ()}, read=lambda run: ()
    ),
    "named_configuration": Door({"data": "modes2d", "method": "separate", "quick": False}),
    "run_experiment": Door(
        lambda: {
            "experiment": _experiment(),
            "folder": None,
            "listener": None,
            "stream": modes2d(**_OPTIONS),
            "loggers": (),
            "log_every": 100,
        },
        read=lambda run: (),
    ),
}
