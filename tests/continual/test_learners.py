"""Learners: the contract that each keeps, on a stream that takes a second."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from bayeshnet.builders import (
    DiracGenerator,
    HyperHypernetwork,
    ImplicitGenerator,
    LowRankWeights,
    MeanFieldGenerator,
    MeanFieldWeights,
    MLPNetwork,
    PointWeights,
    RadialGenerator,
    RadialWeights,
)
from bayeshnet.continual import (
    EWC,
    Coreset,
    ExperienceReplay,
    FineTuning,
    FixedSoftmax,
    GrowingSoftmax,
    Joint,
    OutputRegularizer,
    PatchOutliers,
    PosteriorReplay,
    PriorFocused,
    Separate,
    SharedHead,
    Split,
    StreamPrediction,
    Task,
    Training,
)
from bayeshnet.estimators import AVB, MonteCarlo
from bayeshnet.inference import Callback, Prediction, load_checkpoint, save_checkpoint
from bayeshnet.mnets import ModuleMainNet

FAST = Training(steps=30, batch_size=16, lr=1e-2, num_particles=4, num_samples=4, beta=0.1)


def make_task(number, size=40, kind="classification"):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(size, 4, generator=generator) * 0.3
    x[:, number] += 2.0
    if kind == "regression":
        y = (number - 1.0) * x[:, :1]
        return Task(f"task {number}", Split(x, y), Split(x, y), 1, "regression")
    y = (x[:, 3] > 0).long()
    return Task(f"task {number}", Split(x, y), Split(x, y), 2, labels=(2 * number, 2 * number + 1))


def settings(**changes):
    base = {"training": FAST, "num_samples": 20}
    return {**base, **changes}


IMPLICIT = ImplicitGenerator(latent_size=2, embedding_size=4, layers=(8,))
NET = MLPNetwork((8,), "tanh")
LEARNERS = {
    "replay": lambda: PosteriorReplay(NET, IMPLICIT, **settings()),
    "replay-outliers": lambda: PosteriorReplay(NET, IMPLICIT, outliers=PatchOutliers(0.1), **settings()),
    "replay-some-tasks": lambda: PosteriorReplay(
        NET, IMPLICIT, regularizer=OutputRegularizer(max_tasks=1), **settings()
    ),
    "replay-hyper": lambda: PosteriorReplay(
        NET, HyperHypernetwork(latent_size=2, embedding_size=4, layers=(4,), outer_layers=(4,)), **settings()
    ),
    "replay-generated-sigma": lambda: PosteriorReplay(
        NET, ImplicitGenerator(latent_size=2, embedding_size=4, layers=(8,), sigma="generated"), **settings()
    ),
    "replay-mean-field": lambda: PosteriorReplay(
        NET, MeanFieldGenerator(embedding_size=4, layers=(8,)), estimator=MonteCarlo(), **settings()
    ),
    "replay-mean-field-local": lambda: PosteriorReplay(
        NET, MeanFieldGenerator(embedding_size=4, layers=(8,)), **settings(training=replace(FAST, local_noise=True))
    ),
    "replay-dirac": lambda: PosteriorReplay(NET, DiracGenerator(embedding_size=4, layers=(8,)), **settings()),
    "replay-radial": lambda: PosteriorReplay(
        NET, RadialGenerator(embedding_size=4, layers=(8,)), estimator=MonteCarlo(), **settings()
    ),
    "replay-coreset": lambda: PosteriorReplay(NET, IMPLICIT, coreset=Coreset(size=7, doubt=0.5), **settings()),
    "prior-focused": lambda: PriorFocused(NET, MeanFieldWeights(), **settings()),
    "prior-focused-low-rank": lambda: PriorFocused(NET, LowRankWeights(rank=2), heads=GrowingSoftmax(), **settings()),
    "prior-focused-implicit": lambda: PriorFocused(NET, IMPLICIT, training=replace(FAST, steps=3), num_samples=20),
    "ewc": lambda: EWC(NET, heads=GrowingSoftmax(), **settings()),
    "ewc-sample": lambda: EWC(NET, sample=True, num_fisher=10, **settings()),
    "experience-replay": lambda: ExperienceReplay(NET, PointWeights(), memory_size=5, **settings()),
    "experience-replay-fixed": lambda: ExperienceReplay(NET, MeanFieldWeights(), heads=FixedSoftmax(3), **settings()),
    "joint": lambda: Joint(NET, RadialWeights(), **settings()),
    "separate": lambda: Separate(NET, IMPLICIT, **settings()),
    "fine-tuning": lambda: FineTuning(NET, IMPLICIT, **settings()),
    "own-module": lambda: PosteriorReplay(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), IMPLICIT, **settings()
    ),
}


@pytest.fixture(params=LEARNERS)
def learner(request):
    return LEARNERS[request.param]()


def learn(learner, tasks, seed=0):
    state = None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=seed + number)
    return state


def same_state(a, b):
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_contract(learner, tmp_path):
    tasks = [make_task(t) for t in range(3)]
    state = learn(learner, tasks[:2])
    frozen = copy.deepcopy(state)
    after = learner.learn(state, tasks[2], seed=2)
    assert same_state(state, frozen), "learning must not change the state that it is given"
    assert (state.num_tasks, after.num_tasks) == (2, 3)
    assert after.labels == [(0, 1), (2, 3), (4, 5)]

    x = torch.cat([task.test.x for task in tasks])
    given = learner.predict(after, x, task_id=1)
    assert isinstance(given, Prediction)
    torch.testing.assert_close(given.mean.sum(-1), torch.ones(len(x)))
    inferred = learner.predict(after, x)
    assert isinstance(inferred, StreamPrediction)
    assert inferred.means.shape == (len(x), 3, 2)
    torch.testing.assert_close(inferred.predictions[1].mean, given.mean)
    number = torch.arange(3).repeat_interleave(40)
    assert (inferred.task("density") == number).float().mean() > 0.95

    save_checkpoint(tmp_path / "state", after, {"labels": after.labels})
    loaded = learner.restore(tasks[0], 3)
    load_checkpoint(tmp_path / "state", loaded)
    assert same_state(loaded, after)
    torch.testing.assert_close(learner.predict(loaded, x, task_id=0).mean, learner.predict(after, x, task_id=0).mean)


@pytest.mark.parametrize("name", ["replay-outliers", "replay-some-tasks", "separate"])
def test_the_same_seed_gives_the_same_state(name):
    learner = LEARNERS[name]()
    tasks = [make_task(t) for t in range(2)]
    first = learn(learner, tasks)
    torch.rand(5)  # another global state must not matter
    assert same_state(first, learn(learner, tasks))
    assert not same_state(first, learn(learner, tasks, seed=100))


def test_what_an_estimator_learns_ends_with_the_task():
    """Else a run that is resumed, which begins with another discriminator, would end otherwise."""
    estimator = AVB((8,), steps=1)
    learner = PosteriorReplay(NET, IMPLICIT, estimator=estimator, training=replace(FAST, steps=5))
    first = learner.learn(None, make_task(0))
    assert same_state(first, learner.learn(None, make_task(0)))
    assert estimator.discriminator is None


def accuracy(learner, state, tasks):
    hits = [(learner.predict(state, t.test.x, task_id=i).label == t.test.y).float().mean() for i, t in enumerate(tasks)]
    return torch.stack(hits)


def opposite_tasks():
    """The same inputs with opposite labels: what is learnt second contradicts what was learnt first."""
    first = make_task(0)
    flipped = Split(first.train.x, 1 - first.train.y)
    return [first, Task("flipped", flipped, flipped, 2, labels=(2, 3))]


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
        learner = PosteriorReplay(NET, IMPLICIT, regularizer=OutputRegularizer(strength), **settings())
        before = learner.learn(None, tasks[0], seed=0)
        after = learner.learn(before, tasks[1], seed=1)
        z = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            change.append((after.posterior(0).geometry(z) - before.posterior(0).geometry(z)).square().mean())
    assert change[1] < 0.2 * change[0]


def test_regression_streams(tmp_path):
    tasks = [make_task(t, kind="regression") for t in range(2)]
    learner = PosteriorReplay(NET, IMPLICIT, outliers=PatchOutliers(), **settings())
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
    learner = PosteriorReplay(net, IMPLICIT, training=replace(FAST, steps=2), num_samples=3)
    state, modes, x = None, Modes(), make_task(0).test.x
    for number in range(2):
        state = learner.learn(state, make_task(number), callbacks=[modes])
    assert modes.seen == (True,) * 4
    before = state.net.module[1].running_mean.clone()
    assert not torch.equal(before, torch.zeros(8))
    torch.testing.assert_close(learner.predict(state, x, 0).mean[:5], learner.predict(state, x[:5], 0).mean)
    assert torch.equal(state.net.module[1].running_mean, before)
    assert not learner.restore(make_task(0), 1).net.training


def test_callbacks_see_each_step():
    class Count(Callback):
        steps = 0

        def on_step(self, run):
            self.steps += 1

    counter = Count()
    LEARNERS["replay"]().learn(None, make_task(0), callbacks=[counter])
    assert counter.steps == FAST.steps


@pytest.mark.parametrize("name", ["replay-outliers", "ewc"])
def test_double_precision_data_is_learnt_saved_and_loaded_in_double_precision(name, tmp_path):
    learner, task = LEARNERS[name](), make_task(0).to(dtype=torch.float64)
    state = learner.learn(None, task)
    assert {p.dtype for p in state.parameters()} == {torch.float64}
    save_checkpoint(tmp_path / "state", state)
    loaded = learner.restore(task, 1)
    load_checkpoint(tmp_path / "state", loaded)
    assert same_state(loaded, state)


def test_bad_input_is_refused():
    learner = LEARNERS["replay"]()
    state = learner.learn(None, make_task(0))
    with pytest.raises(ValueError, match=r"x: expected inputs of shape \(N, 4\), got a tensor of shape \(3, 5\)"):
        learner.predict(state, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="task_id: expected a number below the 1 tasks learnt, got 1"):
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
