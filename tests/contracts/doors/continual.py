"""Doors of :mod:`bayeshnet.continual`."""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any

import torch

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import (
    Abstention,
    Coreset,
    DensitySettings,
    EvidenceSettings,
    ExactStream,
    LearnerState,
    NoiseOutliers,
    OutputRegularizer,
    Separate,
    SharedHead,
    StreamPrediction,
    Training,
)
from bayeshnet.estimators import ClosedForm
from bayeshnet.features import RandomFourier
from bayeshnet.guides import Categorical
from tests.support.doors import Door
from tests.support.tasks import make_task

_TASK = make_task(0, size=6)
_NETWORK = MLPNetwork((4,))
_NET = _NETWORK.build((3,), 2)
_SEPARATE: dict[str, Any] = {
    "network": _NETWORK,
    "posterior": MeanFieldWeights(),
    "estimator": ClosedForm(),
    "training": Training(steps=2),
    "outliers": NoiseOutliers(),
    "likelihood": Categorical(),
    "density": DensitySettings(),
    "evidence": EvidenceSettings(),
    "num_samples": 4,
    "entropy_weight": 0.5,
    "batch_norm": "task",
    "num_outputs": 3,
}
_SHARED: dict[str, Any] = {**_SEPARATE, "heads": SharedHead()}
_OUTLIERS: dict[str, Any] = {"weight": 1.0}


_FOLDER = tempfile.TemporaryDirectory()


def _learner() -> Separate:
    return Separate(_NETWORK, MeanFieldWeights(), training=Training(steps=1), num_samples=4)


@cache
def _state() -> LearnerState:
    return _learner().learn(_learner().learn(None, _TASK), make_task(1, size=6))


@cache
def _exact_state() -> LearnerState:
    return ExactStream(RandomFourier(5)).learn(None, _TASK)


@cache
def _saved() -> str:
    _state().save(f"{_FOLDER.name}/state")
    return f"{_FOLDER.name}/state"


@cache
def _prediction() -> StreamPrediction:
    return _learner().predict_each(_state(), _TASK.test.x)


def _label_probs(prediction: Any) -> Any:
    return prediction.mean if hasattr(prediction, "spread") else prediction.label_probs()


DOORS: dict[str, Door] = {
    "Abstention": Door({"thresholds": torch.zeros(2), "false_alarm": 0.05}),
    "Abstention.calibrate": Door({"scores": [torch.arange(19.0)], "false_alarm": 0.1}),
    "Abstention.ood_score": Door({"scores": torch.randn(3, 2)}, of=lambda: Abstention(torch.zeros(2), 0.05), hot=True),
    "Combination": Door(
        {
            "tied": True,
            "evidence_weight": 0.3,
            "entropy_weight": 0.5,
            "log_evidence": (-3.0, -4.0),
            "uncertainty": (1.0, 0.2),
            "task_weights": ((0.3, 0.5), (0.2, 0.6)),
            "log_left_out": (-5.0, -4.0),
        }
    ),
    "Coreset": Door({"size": 5, "doubt": 0.3, "finish": Training(), "finish_doubt": 0.1}),
    "Criterion": Door({"score": _label_probs, "kinds": ("classification",), "needs": "log_density"}),
    "DensitySettings": Door(
        {"num_parts": 2, "num_components": 1, "image_shape": (1, 4, 4), "grid": 2, "floor": 1e-3, "seed": 0}
    ),
    "DensitySettings.fit": Door({"x": torch.randn(8, 3), "y": torch.arange(8) % 2, "layout": None}, of=DensitySettings),
    "EWC": Door(
        {**_SHARED, "posterior": PointWeights(), "strength": 1.0, "decay": 1.0, "num_fisher": 5, "sample": False}
    ),
    "EvidenceSettings": Door(
        {"features": RandomFourier(5), "num_directions": 2, "set_aside": 50, "most_features": 100}
    ),
    "ExactStream": Door(
        {"features": RandomFourier(5), "head": "linear", "forgetting": 0.9, "density": DensitySettings()}
    ),
    "ExactStream.predict_left_out": Door(
        lambda: {"state": _exact_state(), "x": _TASK.train.x, "y": _TASK.train.y, "task_id": 0, "seed": 0},
        of=lambda: ExactStream(RandomFourier(5)),
        read=_label_probs,
    ),
    "ExactStream.update": Door(
        {"state": None, "x": _TASK.train.x, "y": _TASK.train.y, "seed": 0},
        of=lambda: ExactStream(RandomFourier(5)),
        read=lambda state: (),
    ),
    "ExampleMemory": Door({}),
    "ExperienceReplay": Door({**_SHARED, "memory_size": 5, "replay_size": 3}),
    "FineTuning": Door(_SHARED),
    "FixedSoftmax": Door({"num_tasks": 3}),
    "GrowingSoftmax": Door({}),
    "Heads": Door(closed="abstract"),
    "Joint": Door({**_SHARED, "replay_size": 3}),
    "Learner": Door(closed="abstract"),
    "LearnerState": Door(
        lambda: {
            "net": _state().net,
            "likelihood": Categorical(),
            "posterior": _state().posterior,
            "task": _TASK,
            "num_outputs": 3,
        }
    ),
    "NoiseOutliers": Door({**_OUTLIERS, "margin": 0.1}),
    "OutputRegularizer": Door(
        {"strength": 4e-3, "num_latents": 2, "max_tasks": 3, "distance": "squared", "fixed_targets": 4}
    ),
    "PatchOutliers": Door({**_OUTLIERS, "image_shape": (4, 4)}),
    "PerTaskLearner": Door(closed="abstract"),
    "load_state": Door(
        lambda: {"folder": _saved(), "learner": None, "allow": (), "device": "cpu"},
        also=(FileNotFoundError,),
        read=lambda state: (),
    ),
    "PosteriorReplay": Door(
        {
            **_SEPARATE,
            "posterior": ImplicitGenerator(),
            "regularizer": OutputRegularizer(),
            "coreset": Coreset(),
        }
    ),
    "PriorFocused": Door(_SHARED),
    "PseudoOutliers": Door(closed="abstract"),
    "ReplayLearner": Door(closed="abstract"),
    "Separate": Door(_SEPARATE),
    "Separate.learn": Door(
        {"state": None, "task": _TASK, "seed": 0, "callbacks": ()}, of=_learner, read=lambda state: ()
    ),
    "Separate.predict": Door(
        lambda: {"state": _state(), "x": _TASK.test.x, "task_id": 1, "seed": 0},
        of=_learner,
        read=_label_probs,
        random=True,
    ),
    "Separate.predict_each": Door(
        lambda: {"state": _state(), "x": _TASK.test.x, "tasks": [0, 1], "seed": 0},
        of=_learner,
        read=_label_probs,
        random=True,
    ),
    "Separate.restore": Door({"task": _TASK, "num_tasks": 2}, of=_learner, read=lambda state: ()),
    "SharedHead": Door({}),
    "SharedLearner": Door(closed="abstract"),
    "SplitHeads": Door({}),
    "StreamPrediction": Door(closed="a record that learners make"),
    "StreamPrediction.label_probs": Door({"criterion": "combined"}, of=_prediction),
    "StreamPrediction.target_log_prob": Door({"y": _TASK.test.y}, of=_prediction),
    "StreamPrediction.task_posterior": Door({"criterion": "entropy"}, of=_prediction),
    "TaskDensity": Door({"num_parts": 2, "num_components": 1, "num_features": 3, "features": None}),
    "Training": Door(
        {
            "steps": 7,
            "batch_size": 3,
            "lr": 2e-3,
            "num_particles": 2,
            "num_samples": 3,
            "beta": 1.0,
            "max_norm": 1.0,
            "local_noise": False,
            "augmentation": torch.nn.Identity(),
            "num_workers": 0,
            "compile": False,
            "capture": False,
            "amp": None,
            "num_latents": None,
        }
    ),
    "VariationalLearner": Door(closed="abstract"),
    "diagonal_fisher": Door(
        {
            "net": _NET,
            "likelihood": Categorical(),
            "weights": torch.randn(_NET.weight_spec.numel, generator=torch.Generator().manual_seed(0)),
            "x": torch.randn(4, 3),
            "y": torch.tensor([0, 1, 1, 0]),
            "batch_size": 2,
        }
    ),
    "log_densities": Door(lambda: {"densities": list(_state().densities), "x": _TASK.test.x}, random=True),
}
