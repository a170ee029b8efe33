"""Small tasks that learners learn in a moment."""

from __future__ import annotations

import torch

from bayeshnet.continual import Split, Task


def make_task(number, size=40, kind="classification"):
    """Task ``number`` of up to three: four inputs of which one tells the task and the last one the class."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(size, 4, generator=generator) * 0.3
    x[:, number] += 2.0
    if kind == "regression":
        y = (number - 1.0) * x[:, :1]
        return Task(f"task {number}", Split(x, y), Split(x, y), 1, "regression")
    y = (x[:, 3] > 0).long()
    return Task(f"task {number}", Split(x, y), Split(x, y), 2, labels=(2 * number, 2 * number + 1))


def opposite_tasks():
    """Two tasks with the same inputs and opposite labels: learning the second contradicts the first."""
    first = make_task(0)
    flipped = Split(first.train.x, 1 - first.train.y)
    return [first, Task("flipped", flipped, flipped, 2, labels=(2, 3))]


def learn(learner, tasks, seed=0):
    """Learn the tasks in order and return the state."""
    state = None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=seed + number)
    return state


def same_state(a, b):
    """Return True if two modules have equal state dicts."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
