"""Exact streams of tasks with two, three and five classes, and of texts, over features of a network of embeddings."""

from __future__ import annotations

import torch
from torch import nn

from bayeshnet.continual import ExactStream
from bayeshnet.data import from_arrays
from bayeshnet.features import Frozen, RandomFourier
from tests.support.tasks import learn


def accuracy(learner, state, stream):
    """Accuracy over all classes, the task unknown."""
    right = [learner.predict(state, task.test.x).label() == torch.tensor(task.labels)[task.test.y] for task in stream]
    return float(torch.cat(right).double().mean())


def test_tasks_of_two_three_and_five_classes():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(10).repeat_interleave(40)
    x = 3 * torch.randn(10, 6, generator=generator)[y] + torch.randn(400, 6, generator=generator)
    parts = [(y >= first) & (y < last) for first, last in ((0, 2), (2, 5), (5, 10))]
    stream = from_arrays([(x[part], y[part]) for part in parts])
    learner = ExactStream(RandomFourier(100))
    state = learn(learner, stream)
    assert state.sizes == [2, 3, 5]
    assert accuracy(learner, state, stream) > 0.95


class Words(nn.Module):
    """Counts of words in a text, seen through fixed random embeddings."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(20, 16, generator=torch.Generator().manual_seed(0)))

    def forward(self, tokens):
        return self.embedding(tokens).mean(1)


def test_texts_over_frozen_embeddings():
    """Each class has four words of its own, among others: which of four classes a text is of."""
    generator = torch.Generator().manual_seed(1)
    arrays = []
    for number in range(2):
        y = 2 * number + torch.arange(100) % 2
        own = 4 * y[:, None] + torch.randint(4, (100, 5), generator=generator)
        arrays.append((torch.cat([own, torch.randint(16, 20, (100, 3), generator=generator)], 1), y))
    stream = from_arrays(arrays, tokens=True)
    learner = ExactStream(Frozen(Words()))
    assert accuracy(learner, learn(learner, stream), stream) > 0.95
