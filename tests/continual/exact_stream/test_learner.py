"""The learner of exact heads: order-free, with or without tasks, saved and resumed, against the head alone."""

from __future__ import annotations

import copy

import pytest
import torch

from bayeshnet.continual import DensitySettings, ExactStream, Split, StreamPrediction, Task, load_state
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.continual.exact_stream.predictions import task_prediction
from bayeshnet.features import RandomFourier
from tests.support.tasks import learn, make_task, same_state

TASKS = [make_task(t) for t in range(3)]
INPUTS = torch.cat([task.test.x for task in TASKS])
LABELS = torch.cat([torch.tensor(task.labels)[task.test.y] for task in TASKS])
NUMBERS = torch.arange(3).repeat_interleave(40)
HEADS = pytest.mark.parametrize("head", ["linear", "gaussian"])


def make(head="linear", **settings):
    return ExactStream(RandomFourier(60, lengthscale=2.0), head=head, density=DensitySettings(num_parts=2), **settings)


@HEADS
def test_a_stream_of_tasks_is_learned_as_all_data_at_once(head):
    """With the features of the first task the sums, and the weights, are those of one batch in another order."""
    learner = make(head)
    state = learn(learner, TASKS)
    memory = memory_of(state)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(1))
    whole = type(memory.head)(60).update(memory.features(INPUTS)[order], LABELS[order])
    torch.testing.assert_close(memory.head.gram, whole.gram, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(memory.head.linear_map(), whole.linear_map(), rtol=1e-6, atol=1e-8)
    backwards = copy.deepcopy(learn(learner, TASKS[:1]))
    for task in TASKS[:0:-1]:
        backwards = learner.learn(backwards, task)
    torch.testing.assert_close(memory_of(backwards).head.cross, memory.head.cross, rtol=1e-10, atol=1e-10)
    assert backwards.labels == [(0, 1), (4, 5), (2, 3)]


@HEADS
def test_tasks_and_classes_are_found(head):
    learner = make(head)
    state = learn(learner, TASKS)
    found = learner.predict(state, INPUTS)
    assert isinstance(found, StreamPrediction)
    for criterion in ("softmax", "density", "combined"):
        assert float((found.task(criterion) == NUMBERS).double().mean()) > 0.95
    assert float((found.label() == LABELS).double().mean()) > 0.9
    right = memory_of(state).head.log_probs(memory_of(state).features(INPUTS)).exp().float()
    torch.testing.assert_close(found.label_probs(), right, rtol=1e-4, atol=1e-5)
    given = learner.predict(state, INPUTS, task_id=1)
    logits = memory_of(state).head.logits(memory_of(state).features(INPUTS))
    torch.testing.assert_close(given.mean, logits[:, 2:4].softmax(1).float(), rtol=1e-3, atol=1e-4)
    some = learner.predict_each(state, INPUTS, [2, 0])
    torch.testing.assert_close(some.log_evidence, found.log_evidence[:, [2, 0]])


def test_learning_leaves_the_state_alone_and_is_fixed_by_the_seed():
    learner = make()
    two = learn(learner, TASKS[:2])
    before = copy.deepcopy(two)
    three = learner.learn(two, TASKS[2], seed=2)
    assert same_state(two, before)
    assert (two.num_tasks, three.num_tasks) == (2, 3)
    assert same_state(three, learn(learner, TASKS))
    assert not same_state(three, learn(learner, TASKS, seed=100))


@HEADS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_saved_and_go_on(head, dtype, tmp_path):
    learner, tasks = make(head), [task.to(dtype=dtype) for task in TASKS]
    two = learn(learner, tasks[:2])
    loaded = load_state(two.save(tmp_path / "state"))
    assert same_state(loaded, two)
    assert repr(loaded.learner) == repr(learner)
    assert loaded.labels == two.labels
    x = INPUTS.to(dtype)
    found = learner.predict(two, x)
    assert found.means.dtype == dtype
    assert torch.equal(loaded.learner.predict(loaded, x).label_probs(), found.label_probs())
    assert same_state(loaded.learner.learn(loaded, tasks[2], seed=2), learner.learn(two, tasks[2], seed=2))
    point = loaded.posterior(0).mean
    torch.testing.assert_close(point, two.posterior(1).mean)
    assert point.shape == loaded.posterior.prior(x).event_shape
    torch.testing.assert_close(loaded.net(x), two.net(x))


def test_batches_without_tasks_give_what_one_batch_gives():
    """All examples in batches of 10, classes as they come: the same outputs to 1e-10, the same memory after each."""
    learner, order = make(), torch.randperm(120, generator=torch.Generator().manual_seed(2))
    x, y = INPUTS.double()[order], LABELS[order] * 7 - 3
    first = learner.update(None, x[:30], y[:30])
    stream, whole = copy.deepcopy(first), learner.update(copy.deepcopy(first), x[30:], y[30:])
    sizes = set()
    for a, b in zip(x[30:].split(10), y[30:].split(10), strict=True):
        assert learner.update(stream, a, b) is stream
        sizes.add(memory_of(stream).num_bytes)
    assert len(sizes) == 1
    heads, features = [memory_of(s).head for s in (stream, whole)], memory_of(whole).features(INPUTS.double())
    means = [head.predict(features).mean for head in heads]
    torch.testing.assert_close(means[0], means[1], rtol=1e-10, atol=1e-10)
    found = learner.predict(stream, INPUTS.double())
    assert found.all_labels.tolist() == [-3, 4, 11, 18, 25, 32]
    assert float((found.label() == LABELS * 7 - 3).double().mean()) > 0.9
    assert heads[0].beta == pytest.approx(heads[1].beta, rel=0.6)


def test_classes_that_come_back_and_classes_of_one_example():
    learner = make()
    state = learner.update(None, INPUTS[NUMBERS < 2], LABELS[NUMBERS < 2])
    lone = torch.tensor([[0.0, 0.0, 2.0, 0.5]])
    learner.update(state, lone, torch.tensor([9]))
    learner.update(state, INPUTS[:20], LABELS[:20])
    found = learner.predict(state, torch.cat([lone, INPUTS[:40]]))
    assert found.all_labels.tolist() == [0, 1, 2, 3, 9]
    assert found.label()[0] == 9
    assert float((found.label()[1:] == LABELS[:40]).double().mean()) > 0.9


def test_bad_batches_are_refused_and_nothing_is_lost():
    learner = make()
    state = learner.update(None, INPUTS, LABELS)
    before = copy.deepcopy(state)
    bad = INPUTS[:10].clone()
    bad[3, 1] = float("nan")
    for x, y, message in [
        (bad, LABELS[:10], "x: expected finite values"),
        (INPUTS[:10, :3], LABELS[:10], "x: expected inputs of shape"),
        (INPUTS[:10], LABELS[:9], "y: expected a tensor of shape"),
        (INPUTS[:10], LABELS[:10].float(), "y: expected classes, as integers"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            learner.update(state, x, y)
    assert same_state(state, before)
    assert state.labels == before.labels
    with pytest.raises(ValueError, match="task: expected a task of classes"):
        learner.learn(None, make_task(0, kind="regression"))


def test_tasks_that_share_classes_have_one_answer():
    """Domains of one set of classes: which task it is the head cannot say, and does not claim to."""
    tasks = [Task(f"domain {n}", task.train, task.test, 2) for n, task in enumerate(TASKS)]
    learner = make()
    state = learn(learner, tasks)
    found = learner.predict(state, INPUTS)
    assert "softmax" not in found.criteria
    assert found.log_evidence is None
    assert torch.equal(found.predictions[0].mean, found.predictions[2].mean)
    assert float((found.predictions[0].label == LABELS % 2).double().mean()) > 0.9


def test_forgetting_follows_classes_that_change_their_meaning():
    learner, fixed = make(forgetting=0.97), make()
    x, y = INPUTS[:40], LABELS[:40]
    split = Split(x, y)
    tasks = [Task("before", split, split, 2), Task("after", Split(x, 1 - y), split, 2)]
    tasks += [tasks[1]] * 3
    right = {name: learn(one, tasks) for name, one in (("free", learner), ("fixed", fixed))}
    means = {}
    for name, state in right.items():
        memory = memory_of(state)
        means[name] = float(memory.head.predict(memory.features(x)).mean.gather(1, 1 - y[:, None]).mean())
    assert means["fixed"] < 0.85
    assert means["free"] > means["fixed"] + 0.05


def test_uncertainty_has_its_parts():
    learner = make()
    state = learn(learner, TASKS)
    near, far = learner.predict(state, INPUTS[:40], 0), learner.predict(state, torch.full((5, 4), 30.0), 0)
    for found in (near, far):
        torch.testing.assert_close(found.total, found.aleatoric + found.epistemic)
        assert bool((found.epistemic >= 0).all())
    assert float(far.epistemic.mean()) > float(near.epistemic.mean())
    assert float(far.total.mean()) > float(near.total.mean())


def test_spread_is_that_of_drawn_logits():
    """Where weights are nearly known, the linearized variance of probabilities is that of draws."""
    logits = torch.tensor([[1.0, 0.2, -0.5]]).double()
    found = task_prediction(logits, torch.tensor([1e-4]).double(), 2.0, torch.float64)
    noise = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)).double()
    draws = (logits + 2.0 * (1e-4 / (1 + 1e-4)) ** 0.5 * noise).softmax(1)
    torch.testing.assert_close(found.spread[0], draws.var(0), rtol=0.02, atol=0)
    torch.testing.assert_close(found.total, -(found.mean * found.mean.log()).sum(1))
    known = (logits * (1 + 1e-4) ** 0.5).softmax(1)
    torch.testing.assert_close(found.aleatoric, -(known * known.log()).sum(1))


@HEADS
def test_a_stream_that_forgets_has_finite_predictions_of_what_is_left_out(head):
    """Of the first task less than one example is left; probabilities of the newest are not flattened by it."""
    learner = make(head, forgetting=0.9)
    state = learn(learner, TASKS)
    for number, task in enumerate(TASKS):
        found = learner.predict_left_out(state, task.train.x, task.train.y, number)
        assert bool(found.scores("combined").isfinite().all())
        assert bool(found.predictions[0].mean.isfinite().all())
    plain = learner.predict(state, TASKS[2].train.x, 2)
    assert float((found.predictions[0].mean - plain.mean).abs().mean()) < 0.1


def test_batches_after_several_tasks_are_refused_by_name():
    learner = make()
    state = learn(learner, TASKS[:2])
    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match=r"state: expected one of a stream without tasks, got one of 2 tasks"):
        learner.update(state, INPUTS, LABELS)
    assert same_state(state, before)
