"""Properties of single learners beyond the contract in ``tests/contracts/test_learners_contract.py``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MLPNetwork
from bayeshnet.continual import (
    FineTuning,
    OutputRegularizer,
    PatchOutliers,
    PosteriorReplay,
    Separate,
    SharedHead,
    Split,
    Task,
    Training,
)
from bayeshnet.estimators import AVB
from bayeshnet.inference import Callback
from bayeshnet.mnets import ModuleMainNet
from tests.support.tasks import learn, make_task, opposite_tasks, same_state

FAST = Training(steps=30, batch_size=16, lr=1e-2, num_particles=4, num_samples=4, beta=0.1)
QUICK = {"training": FAST, "num_samples": 20}
IMPLICIT = ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,))
NET = MLPNetwork((8,), "tanh")


def test_what_an_estimator_learns_ends_with_the_task():
    """Otherwise a resumed run, which begins with a new discriminator, would give another result."""
    estimator = AVB((8,), steps=1)
    learner = PosteriorReplay(NET, IMPLICIT, estimator=estimator, training=replace(FAST, steps=5))
    first = learner.learn(None, make_task(0))
    assert same_state(first, learner.learn(None, make_task(0)))
    assert estimator.discriminator is None


def accuracy(learner, state, tasks):
    hits = [(learner.predict(state, t.test.x, task_id=i).label == t.test.y).float().mean() for i, t in enumerate(tasks)]
    return torch.stack(hits)


@pytest.mark.slow
def test_replay_remembers_and_fine_tuning_forgets():
    training = Training(steps=600, batch_size=40, lr=1e-2, num_particles=4, num_samples=4, beta=0.01)
    tasks = opposite_tasks()
    shared_head = partial(FineTuning, heads=SharedHead())
    for make, remembers in ((PosteriorReplay, True), (Separate, True), (shared_head, False)):
        learner = make(NET, IMPLICIT, training=training, num_samples=20)
        kept, new = accuracy(learner, learn(learner, tasks), tasks)
        assert new > 0.9
        assert (kept > 0.9) == remembers, make


def test_without_its_regularizer_replay_changes_old_tasks_more():
    tasks = opposite_tasks()
    change = []
    for strength in (0.0, 1.0):
        learner = PosteriorReplay(NET, IMPLICIT, regularizer=OutputRegularizer(strength), **QUICK)
        before = learner.learn(None, tasks[0], seed=0)
        after = learner.learn(before, tasks[1], seed=1)
        z = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            change.append((after.posterior(0).geometry(z) - before.posterior(0).geometry(z)).square().mean())
    assert change[1] < 0.2 * change[0]


def test_regression_streams():
    tasks = [make_task(t, kind="regression") for t in range(2)]
    learner = PosteriorReplay(NET, IMPLICIT, outliers=PatchOutliers(), **QUICK)
    state = learn(learner, tasks)
    inferred = learner.predict(state, tasks[0].test.x)
    assert inferred.mean().shape == (40, 1)
    with pytest.raises(ValueError, match="label: expected tasks of kind 'classification'"):
        inferred.label()


def test_networks_are_in_training_mode_only_in_training():
    class Modes(Callback):
        seen = ()

        def on_step(self, run):
            self.seen = (*self.seen, run.model.net.module.training)

    net = ModuleMainNet(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2)), None, "track")
    learner = PosteriorReplay(net, IMPLICIT, training=replace(FAST, steps=2), num_samples=3, batch_norm="track")
    state, modes, x = None, Modes(), make_task(0).test.x
    for number in range(2):
        state = learner.learn(state, make_task(number), callbacks=[modes])
    assert modes.seen == (True,) * 4
    before = state.net.module[1].running_mean.clone()
    assert not torch.equal(before, torch.zeros(8))
    torch.testing.assert_close(learner.predict(state, x, 0).mean[:5], learner.predict(state, x[:5], 0).mean)
    assert torch.equal(state.net.module[1].running_mean, before)
    assert not learner.restore(make_task(0), 1).net.training


def test_bad_input_is_refused():
    learner = PosteriorReplay(NET, IMPLICIT, **QUICK)
    state = learner.learn(None, make_task(0))
    with pytest.raises(ValueError, match=r"x: expected inputs of shape \(N, 4\), got a tensor of shape \(3, 5\)"):
        learner.predict(state, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="task_id: expected a number below the 1 tasks learned, got 1"):
        learner.predict(state, torch.zeros(3, 4), task_id=1)
    split = Split(torch.zeros(2, 5), torch.tensor([0, 1]))
    other = Task("wide", split, split, 2)
    with pytest.raises(ValueError, match="task 'wide': expected input_shape"):
        learner.learn(state, other)
    with pytest.raises(ValueError, match="steps: expected an integer >= 1"):
        Training(steps=0)
    with pytest.raises(TypeError, match="local_noise: expected True or False"):
        Training(local_noise="no")
    with pytest.raises(ValueError, match="activation: expected one of"):
        MLPNetwork((8,), "nonsense")
