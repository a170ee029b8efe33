"""Targets and likelihoods on their way into learners: one rule with the rest of the library."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import EWC, ExperienceReplay, PosteriorReplay, SharedHead, Split, Task, Training
from bayeshnet.guides import Bernoulli, Categorical, Gaussian, Poisson
from tests.support.tasks import learn, make_task, same_state

FAST = Training(steps=20, batch_size=16, lr=1e-2, num_particles=4, num_samples=4, beta=0.1)
IMPLICIT = ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,))
NET = MLPNetwork((8,), "tanh")
LEARNERS = {
    "posterior replay": lambda network, **rest: PosteriorReplay(network, IMPLICIT, training=FAST, **rest),
    "EWC": lambda network, **rest: EWC(network, training=FAST, heads=SharedHead(), **rest),
    "experience replay": lambda network, **rest: ExperienceReplay(
        network, IMPLICIT, training=FAST, heads=SharedHead(), **rest
    ),
}
each_learner = pytest.mark.parametrize("kind", LEARNERS)


def squeezed(task):
    """The same task with a single value per input as ``(N,)``."""
    parts = {name: Split(split.x, split.y[:, 0]) for name, split in task.splits().items()}
    return replace(task, **parts)


def test_a_single_value_may_lack_its_dimension():
    task = squeezed(make_task(1, kind="regression"))
    assert task.train.y.shape == task.test.y.shape == (40, 1)
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        replace(task, num_outputs=2, train=Split(task.train.x, task.train.y[:, 0]))


@each_learner
def test_values_in_either_shape_teach_the_same(kind):
    tasks = [make_task(0, kind="regression"), make_task(1, kind="regression")]
    learner = LEARNERS[kind](NET)
    assert same_state(learn(learner, tasks), learn(learner, [squeezed(task) for task in tasks]))


@each_learner
def test_outputs_without_their_dimension_teach_the_same(kind):
    """A network whose outputs are ``(N,)`` is the same model as one whose outputs are ``(N, 1)``."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    tasks = [make_task(0, kind="regression"), make_task(1, kind="regression")]
    means = []
    for network in (plain, nn.Sequential(*plain, nn.Flatten(0))):
        learner = LEARNERS[kind](network)
        state = learn(learner, tasks)
        means.append(learner.predict(state, tasks[0].test.x, task_id=0).mean)
    torch.testing.assert_close(means[0], means[1])


@each_learner
@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Poisson()], ids=lambda one: type(one).__name__)
def test_a_likelihood_that_has_no_classes_is_refused_before_training(kind, likelihood):
    with pytest.raises(ValueError, match=r"^likelihood: expected one of classes"):
        LEARNERS[kind](NET, likelihood=likelihood).learn(None, make_task(0))


@each_learner
def test_answers_of_yes_or_no(kind):
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 3] > 0).float()
    task = Task("sign", Split(x, y), Split(x, y), 1, "regression")
    training = Training(steps=200, batch_size=64, lr=2e-2, num_particles=4, num_samples=4, beta=0.1)
    learner = LEARNERS[kind](NET, likelihood=Bernoulli())
    learner.training = training
    found = learner.predict(learner.learn(None, task), x, task_id=0)
    assert (found.label == y.long()).float().mean() > 0.9


def test_a_likelihood_of_classes_is_taken():
    state = LEARNERS["posterior replay"](NET, likelihood=Categorical()).learn(None, make_task(0))
    assert isinstance(state.likelihood, Categorical)
