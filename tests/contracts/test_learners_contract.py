"""The contract of learners, on a stream that is learned in a second. A new learner joins by a line in ``LEARNERS``."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

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
    Learner,
    LearnerState,
    OutputRegularizer,
    PatchOutliers,
    PosteriorReplay,
    PriorFocused,
    Separate,
    StreamPrediction,
    Training,
    load_state,
)
from bayeshnet.estimators import MonteCarlo
from bayeshnet.inference import Callback, Prediction, load_checkpoint, save_checkpoint
from bayeshnet.representation import settings_of
from tests.support.tasks import learn, make_task, same_state

FAST = Training(steps=30, batch_size=16, lr=1e-2, num_particles=4, num_samples=4, beta=0.1)
NET = MLPNetwork((8,), "tanh")
IMPLICIT = ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,))
QUICK = {"training": FAST, "num_samples": 20}
LEARNERS = {
    "replay": lambda: PosteriorReplay(NET, IMPLICIT, **QUICK),
    "replay-outliers": lambda: PosteriorReplay(NET, IMPLICIT, outliers=PatchOutliers(0.1), **QUICK),
    "replay-some-tasks": lambda: PosteriorReplay(NET, IMPLICIT, regularizer=OutputRegularizer(max_tasks=1), **QUICK),
    "replay-hyper": lambda: PosteriorReplay(
        NET, HyperHypernetwork(latent_size=2, embedding_size=4, hidden_layers=(4,), outer_hidden_layers=(4,)), **QUICK
    ),
    "replay-generated-sigma": lambda: PosteriorReplay(
        NET, ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(8,), sigma="generated"), **QUICK
    ),
    "replay-mean-field": lambda: PosteriorReplay(
        NET, MeanFieldGenerator(embedding_size=4, hidden_layers=(8,)), estimator=MonteCarlo(), **QUICK
    ),
    "replay-mean-field-local": lambda: PosteriorReplay(
        NET,
        MeanFieldGenerator(embedding_size=4, hidden_layers=(8,)),
        **{**QUICK, "training": replace(FAST, local_noise=True)},
    ),
    "replay-dirac": lambda: PosteriorReplay(NET, DiracGenerator(embedding_size=4, hidden_layers=(8,)), **QUICK),
    "replay-radial": lambda: PosteriorReplay(
        NET, RadialGenerator(embedding_size=4, hidden_layers=(8,)), estimator=MonteCarlo(), **QUICK
    ),
    "replay-coreset": lambda: PosteriorReplay(NET, IMPLICIT, coreset=Coreset(size=7, doubt=0.5, finish=FAST), **QUICK),
    "prior-focused": lambda: PriorFocused(NET, MeanFieldWeights(), **QUICK),
    "prior-focused-low-rank": lambda: PriorFocused(NET, LowRankWeights(rank=2), heads=GrowingSoftmax(), **QUICK),
    "prior-focused-implicit": lambda: PriorFocused(NET, IMPLICIT, **{**QUICK, "training": replace(FAST, steps=3)}),
    "ewc": lambda: EWC(NET, heads=GrowingSoftmax(), **QUICK),
    "ewc-sample": lambda: EWC(NET, sample=True, num_fisher=10, **QUICK),
    "experience-replay": lambda: ExperienceReplay(NET, PointWeights(), memory_size=5, **QUICK),
    "experience-replay-fixed": lambda: ExperienceReplay(NET, MeanFieldWeights(), heads=FixedSoftmax(3), **QUICK),
    "joint": lambda: Joint(NET, RadialWeights(), **QUICK),
    "separate": lambda: Separate(NET, IMPLICIT, **QUICK),
    "fine-tuning": lambda: FineTuning(NET, IMPLICIT, **QUICK),
    "own-module": lambda: PosteriorReplay(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), IMPLICIT, **QUICK
    ),
    "own-module-norm": lambda: ExperienceReplay(
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6)),
        PointWeights(),
        heads=FixedSoftmax(3),
        outliers=PatchOutliers(0.1),
        **QUICK,
    ),
}
TASKS = [make_task(t) for t in range(3)]
INPUTS = torch.cat([task.test.x for task in TASKS])


@dataclass(frozen=True)
class Learned:
    """A learner, its state after two tasks, a copy made before the third was learned, and the state after the third."""

    learner: Learner
    two: LearnerState
    copied: LearnerState
    three: LearnerState


@pytest.fixture(scope="module", params=LEARNERS)
def learned(request):
    learner = LEARNERS[request.param]()
    two = learn(learner, TASKS[:2])
    copied = copy.deepcopy(two)
    return Learned(learner, two, copied, learner.learn(two, TASKS[2], seed=2))


@pytest.fixture(params=LEARNERS)
def quick_learner(request):
    """A learner that takes few steps."""
    learner = LEARNERS[request.param]()
    learner.training = replace(learner.training, steps=3)
    return learner


def test_learning_does_not_change_the_state_that_it_is_given(learned):
    assert same_state(learned.two, learned.copied)
    assert (learned.two.num_tasks, learned.three.num_tasks) == (2, 3)
    assert learned.two.labels == [(0, 1), (2, 3)]
    assert learned.three.labels == [(0, 1), (2, 3), (4, 5)]


def test_predictions_with_the_task_given(learned):
    given = learned.learner.predict(learned.three, INPUTS, task_id=1)
    assert isinstance(given, Prediction)
    assert given.mean.shape == (len(INPUTS), 2)
    torch.testing.assert_close(given.mean.sum(-1), torch.ones(len(INPUTS)))


def test_predictions_with_the_task_inferred(learned):
    inferred = learned.learner.predict(learned.three, INPUTS)
    assert isinstance(inferred, StreamPrediction)
    assert inferred.means.shape == (len(INPUTS), 3, 2)
    given = learned.learner.predict(learned.three, INPUTS, task_id=1)
    torch.testing.assert_close(inferred.predictions[1].mean, given.mean)
    number = torch.arange(3).repeat_interleave(40)
    assert (inferred.task("density") == number).float().mean() > 0.95
    some = learned.learner.predict_each(learned.three, INPUTS, [2, 0])
    assert some.means.shape == (len(INPUTS), 2, 2)
    torch.testing.assert_close(some.predictions[0].mean, inferred.predictions[2].mean)


def test_states_are_saved_and_restored(learned, tmp_path):
    learner, state = learned.learner, learned.three
    save_checkpoint(tmp_path / "state", state, {"labels": state.labels})
    loaded = learner.restore(TASKS[0], 3)
    load_checkpoint(tmp_path / "state", loaded)
    assert same_state(loaded, state)
    assert not loaded.net.training
    given = learner.predict(state, INPUTS, task_id=0)
    torch.testing.assert_close(learner.predict(loaded, INPUTS, task_id=0).mean, given.mean)


def test_a_saved_state_goes_on_as_if_it_had_not_been_saved(learned, tmp_path):
    """Nothing but the folder is needed: neither the learner nor a task."""
    learner, two = learned.learner, learned.two
    loaded = load_state(two.save(tmp_path / "state"))
    assert same_state(loaded, two)
    assert loaded.labels == two.labels
    assert repr(loaded.learner) == repr(learner)
    assert repr(loaded) == repr(two)
    assert not loaded.net.training
    for task_id in (None, 1):
        before, after = (which.learner.predict(which, INPUTS, task_id, seed=3) for which in (two, loaded))
        assert torch.equal(
            after.mean() if task_id is None else after.mean, before.mean() if task_id is None else before.mean
        )
    assert torch.equal(loaded.learner.predict(loaded, INPUTS).label(), learner.predict(two, INPUTS).label())
    assert same_state(loaded.learner.learn(loaded, TASKS[2], seed=2), learned.three)


def test_a_saved_state_is_finished_as_if_it_had_not_been_saved(quick_learner, tmp_path):
    state = learn(quick_learner, TASKS[:2])
    loaded = load_state(state.save(tmp_path / "state"))
    assert same_state(loaded.learner.finish(loaded, seed=3), quick_learner.finish(state, seed=3))


def test_finishing_gives_a_state_of_the_same_tasks(quick_learner):
    state = learn(quick_learner, TASKS[:2])
    before = copy.deepcopy(state)
    finished = quick_learner.finish(state, seed=3)
    assert same_state(state, before)
    assert finished.num_tasks == 2
    assert same_state(finished, quick_learner.finish(state, seed=3))


def test_the_same_seed_gives_the_same_state(quick_learner):
    first = learn(quick_learner, TASKS[:2])
    torch.rand(5)  # another global state must not matter
    assert same_state(first, learn(quick_learner, TASKS[:2]))
    assert not same_state(first, learn(quick_learner, TASKS[:2], seed=100))


def test_double_precision_data_is_learned_saved_and_loaded_in_double_precision(quick_learner, tmp_path):
    tasks = [task.to(dtype=torch.float64) for task in TASKS[:2]]
    state = learn(quick_learner, tasks)
    assert {p.dtype for p in state.parameters()} == {torch.float64}
    save_checkpoint(tmp_path / "state", state)
    loaded = quick_learner.restore(tasks[0], 2)
    load_checkpoint(tmp_path / "state", loaded)
    assert same_state(loaded, state)


def test_callbacks_are_called_after_each_step(quick_learner):
    class Count(Callback):
        steps = 0

        def on_step(self, run):
            self.steps += 1

    counter = Count()
    quick_learner.learn(None, TASKS[0], callbacks=[counter])
    assert counter.steps == 3


def test_inputs_and_tasks_of_other_shapes_are_refused(learned):
    with pytest.raises(ValueError, match=r"x: expected inputs of shape \(N, 4\), got a tensor of shape \(3, 5\)"):
        learned.learner.predict(learned.two, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="task_id: expected a number below the 2 tasks learned, got 2"):
        learned.learner.predict(learned.two, torch.zeros(3, 4), task_id=2)
    with pytest.raises(ValueError, match="task 'task 0': expected kind classification as before"):
        learned.learner.learn(learned.two, make_task(0, kind="regression"))


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_the_representation_shows_each_setting(make):
    learner = make()
    text, settings = repr(learner), settings_of(learner)
    assert text.startswith(f"{type(learner).__name__}(")
    assert {"network", "posterior", "estimator", "training", "num_samples"} <= set(settings)
    for name in settings:
        assert f"{name}=" in text
