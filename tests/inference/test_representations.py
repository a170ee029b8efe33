"""Bounds, predictions, callbacks, schedules and losses show the settings of their constructors."""

import inspect

import pytest
import torch
from torch import nn

from bayeshnet import inference
from bayeshnet.continual import NoiseOutliers, PatchOutliers
from bayeshnet.estimators import LIVI
from bayeshnet.guides import Categorical, MeanFieldGuide
from bayeshnet.inference import (
    AddedLoss,
    Annealing,
    BatchedHMC,
    Callback,
    Cosine,
    DrawnPosterior,
    EarlyStopping,
    ImplicitELBO,
    LinearWarmup,
    LogProgress,
    Predictive,
    Progress,
    SampledPosterior,
)
from bayeshnet.weights import WeightSpec

NET = nn.Linear(3, 2)
GUIDE = MeanFieldGuide(NET)
BOUND = ImplicitELBO(LIVI(7), 3, 4, 0.5, local_noise=True, vectorize_particles=False, max_plate_nesting=2)
SHOWN = [
    (BOUND, f"estimator={LIVI(7)!r}"),
    (BOUND, "num_particles=3"),
    (BOUND, "num_samples=4"),
    (BOUND, "beta=0.5"),
    (BOUND, "local_noise=True"),
    (BOUND, "vectorize_particles=False"),
    (BOUND, "max_plate_nesting=2"),
    (Predictive(GUIDE, NET, Categorical(), 9, sample_chunk=3), "guide=MeanFieldGuide, net=ModuleMainNet"),
    (Predictive(GUIDE, NET, None, 9, sample_chunk=3), "num_samples=9, sample_chunk=3, input_chunk=None"),
    (EarlyStopping(3, 50, 0.1), "EarlyStopping(patience=3, every=50, min_delta=0.1, monitor=None)"),
    (Progress(print, 0.5), "Progress(report=print, interval=0.5)"),
    (LogProgress(2.0, 10), "LogProgress(interval=2.0, level=10)"),
    (Cosine(5, 0.1), "Cosine(num_steps=5, final=0.1)"),
    (LinearWarmup(5, 0.1, 0.9), "LinearWarmup(num_steps=5, start=0.1, end=0.9)"),
    (Annealing(5, 2.0), "Annealing(num_steps=5, start=2.0)"),
    (DrawnPosterior(torch.zeros(4, 8), WeightSpec.of(NET)), "DrawnPosterior(samples=tensor(4, 8))"),
    (SampledPosterior(torch.zeros(4, 8), WeightSpec.of(NET), 2), "samples=tensor(4, 8), num_chains=2, divergences=0"),
    (BatchedHMC(0.7, 9), "target_acceptance=0.7, max_steps=9, trajectory=None, start_steps=200"),
    (PatchOutliers(0.2, (4, 4)), "PatchOutliers(weight=0.2, image_shape=(4, 4))"),
    (NoiseOutliers(0.2, 0.1), "NoiseOutliers(weight=0.2, margin=0.1)"),
]
RECORDS = {
    "BoundCheck",
    "Chains",
    "Convergence",
    "ELBOTerms",
    "FitResult",
    "Prediction",
    "ReferencePosterior",
    "Run",
    "StepContext",
}
"""Results and states, which are no settings."""


@pytest.mark.parametrize(("thing", "text"), SHOWN, ids=lambda value: type(value).__name__)
def test_settings_are_shown(thing, text):
    assert text in " ".join(repr(thing).split())
    assert repr(thing).startswith(f"{type(thing).__name__}(")


def test_all_public_classes_are_shown():
    classes = {name for name in inference.__all__ if inspect.isclass(getattr(inference, name))}
    shown = {type(thing).__name__ for thing, _ in SHOWN} - {"PatchOutliers", "NoiseOutliers"}
    assert shown == classes - RECORDS - {AddedLoss.__name__, Callback.__name__}
