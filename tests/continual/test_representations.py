"""Public objects show the settings of their constructors."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import (
    CRITERIA,
    Abstention,
    Combination,
    Coreset,
    DensitySettings,
    EvidenceSettings,
    ExampleMemory,
    FixedSoftmax,
    GrowingSoftmax,
    PosteriorReplay,
    SharedHead,
    SplitHeads,
    Training,
)
from bayeshnet.continual.ewc import Laplace
from bayeshnet.continual.task_inference.combination import CombinationMemory
from bayeshnet.continual.task_inference.image_features import ImageFeatures
from bayeshnet.continual.task_posterior import GeneratedTasks, OneForAll, OnePerTask
from bayeshnet.weights import WeightSpec
from tests.support.tasks import learn, make_task

SPEC = WeightSpec.of_shapes([[4, 3], [4]])
SHOWN = [
    (SharedHead(), "SharedHead()"),
    (SplitHeads(), "SplitHeads()"),
    (GrowingSoftmax(), "GrowingSoftmax()"),
    (FixedSoftmax(3), "FixedSoftmax(num_tasks=3)"),
    (CRITERIA["entropy"], "Criterion(score=entropy, kinds=('classification', 'regression'), needs=None)"),
    (Abstention(torch.tensor([1.0, 2.0]), 0.1), "Abstention(thresholds=tensor([1., 2.]), false_alarm=0.1)"),
    (
        Combination(True, 0.3, 0.5),
        "Combination(\n    tied=True,\n    evidence_weight=0.3,\n    entropy_weight=0.5,\n"
        "    log_evidence=(0.0, 0.0),\n    uncertainty=(1.0, 0.5),\n"
        "    task_weights=(),\n    log_left_out=(0.0, 0.0),\n)",
    ),
    (CombinationMemory(0.2), "CombinationMemory(entropy_weight=0.2)"),
    (
        EvidenceSettings(),
        "EvidenceSettings(features=None, num_directions=64, set_aside=500, most_features=2048)",
    ),
    (ExampleMemory(), "ExampleMemory(num_tasks=0, num_examples=0)"),
    (Laplace(torch.ones(3)), "Laplace(precision=tensor(3,))"),
    (ImageFeatures((1, 8, 8), 4), "ImageFeatures(image_shape=(1, 8, 8), grid=4)"),
]


@pytest.mark.parametrize(("thing", "text"), SHOWN, ids=lambda value: type(value).__name__)
def test_settings_are_shown(thing, text):
    assert repr(thing) == text


@pytest.mark.parametrize("settings", [DensitySettings(), Training(), Coreset(finish=None)])
def test_records_show_their_fields(settings):
    for name, value in vars(settings).items():
        assert f"{name}={value!r}" in repr(settings)


def test_densities_show_their_sizes():
    density = DensitySettings(num_parts=2, num_components=3).fit(torch.randn(50, 8))
    assert "num_parts=2, num_components=3, num_features=8" in repr(density)


@pytest.mark.parametrize("kind", [GeneratedTasks, OneForAll, OnePerTask])
def test_task_posteriors_show_their_builder_and_the_number_of_tasks(kind):
    family = ImplicitGenerator(latent_size=2)
    posterior = kind(family, SPEC)
    posterior.grow()
    assert f"family={family!r}, num_tasks=1".replace("\n", "\n  ") in repr(posterior)


def test_predictions_show_their_sizes():
    learner = PosteriorReplay(MLPNetwork((5,)), ImplicitGenerator(), training=Training(steps=1), num_samples=2)
    prediction = learner.predict(learn(learner, [make_task(0), make_task(1)]), torch.randn(7, 4))
    assert repr(prediction) == "StreamPrediction(7 inputs, 2 tasks, labels=((0, 1), (2, 3)))"
