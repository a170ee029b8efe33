"""Data sets that fail in the middle: a clear error, and nothing that was learned is lost."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.data import Dataset

from bayeshnet.builders import ConvNetwork, ImplicitGenerator, MeanFieldWeights
from bayeshnet.continual import (
    Coreset,
    ExactStream,
    ExperienceReplay,
    PosteriorReplay,
    Separate,
    Split,
    Task,
    Training,
)
from bayeshnet.features import PatchFilters
from tests.support.tasks import same_state

BRIEF = Training(steps=4, batch_size=8, num_particles=1, num_samples=2)


class Images(Dataset):
    """Images of eight by eight pixels, of which some cannot be read or have another size."""

    def __init__(self, seed=0, broken=(), larger=()):
        generator = torch.Generator().manual_seed(seed)
        self.x, self.targets = torch.randn(32, 1, 8, 8, generator=generator), torch.arange(32) % 2
        self.broken, self.larger = broken, larger

    def __len__(self):
        return 32

    def __getitem__(self, i):
        if i in self.broken:
            raise OSError("no such sector")
        return (torch.zeros(1, 9, 9) if i in self.larger else self.x[i]), self.targets[i]


def task(number, **faults):
    data = Images(number, **faults)
    return Task(f"task {number}", Split(data), Split(Images(number)), 2, labels=(2 * number, 2 * number + 1))


def learners():
    network = ConvNetwork((2,), (4,))
    generator = ImplicitGenerator(latent_size=1, embedding_size=2, hidden_layers=(2,))
    return {
        "separate": Separate(network, MeanFieldWeights(), training=BRIEF, num_samples=2),
        "replay": PosteriorReplay(network, generator, training=BRIEF, num_samples=2, coreset=Coreset(size=4)),
        "exact": ExactStream(PatchFilters(4, patch_size=3)),
        "experience": ExperienceReplay(network, MeanFieldWeights(), training=BRIEF, num_samples=2, memory_size=4),
    }


@pytest.mark.parametrize("name", learners())
@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"broken": [21]}, "example 21: expected an example that can be read, got OSError: no such sector"),
        ({"larger": [21]}, r"example 21: .*\(1, 8, 8\).*\(1, 9, 9\)"),
    ],
)
def test_the_example_is_named_and_the_state_is_as_it_was(name, faults, message):
    learner = learners()[name]
    state = learner.learn(None, task(0), seed=0)
    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match=message):
        learner.learn(state, task(1, **faults), seed=1)
    assert same_state(state, before)
    assert state.num_tasks == 1
    mended = learner.learn(state, task(1), seed=1)
    assert same_state(mended, learner.learn(before, task(1), seed=1))


def test_predictions_name_what_cannot_be_read():
    learner = learners()["separate"]
    state = learner.learn(None, task(0))
    with pytest.raises(
        ValueError, match=r"x: expected inputs of shape \(N, 1, 8, 8\), got a tensor of shape \(2, 1, 9, 9\)"
    ):
        learner.predict(state, torch.zeros(2, 1, 9, 9))
    with pytest.raises(ValueError, match="example 3: expected an example that can be read, got OSError"):
        Split(Images(broken=[3])).load()
