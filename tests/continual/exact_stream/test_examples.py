"""Examples of exact learners: those of data sets, those that are missing or broken, and those that are left out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from bayeshnet.continual import Abstention, DensitySettings, ExactStream, Split, Task
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.features import Frozen, RandomFourier
from tests.support.tasks import learn, make_task, same_state

TASKS = [make_task(t) for t in range(3)]
HEADS = pytest.mark.parametrize("head", ["linear", "gaussian"])


def make(head="linear", size=60):
    return ExactStream(RandomFourier(size, lengthscale=2.0), head=head, density=DensitySettings(num_parts=2))


class Broken(Dataset):
    """Examples of which one raises."""

    targets = torch.arange(20) % 2

    def __len__(self):
        return 20

    def __getitem__(self, number):
        if number == 13:
            raise OSError("truncated file")
        return torch.full((4,), float(number)), self.targets[number]


@HEADS
def test_a_data_set_is_learned_as_its_tensors(head):
    def stored(split):
        return Split(TensorDataset(split.x, split.y))

    read = [Task(t.name, stored(t.train), stored(t.test), 2, labels=t.labels) for t in TASKS]
    assert not read[0].train.in_memory
    learner = make(head)
    state, right = learn(learner, read), learn(learner, TASKS)
    x = torch.cat([t.test.x for t in TASKS])
    found = [learner.predict(s, x).label_probs() for s in (state, right)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(memory_of(state).head.gram, memory_of(right).head.gram, rtol=1e-5, atol=1e-5)


def test_examples_are_read_in_chunks_and_not_kept(monkeypatch):
    """The largest batch of features of a long data set is one chunk; the temperature sees at least 2,000 examples."""
    x = torch.randn(6500, 3, generator=torch.Generator().manual_seed(0))
    split = Split(TensorDataset(x, (x[:, 0] > 0).long()))
    learner, sizes = make(size=8), []
    state = learner.learn(None, Task("long", split, split, 2))
    forward = type(memory_of(state).features).forward

    def counted(self, x):
        sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(type(memory_of(state).features), "forward", counted)
    head = memory_of(learner.learn(state, Task("again", split, split, 2, labels=(2, 3)))).head
    assert (max(sizes), sum(sizes), head.count) == (1000, 6500, 13_000)
    reference = copy.deepcopy(memory_of(state).head)
    features = memory_of(state).features(x)
    reference.update(features, split.y + 2).calibrate(features[::3], split.y[::3] + 2)
    torch.testing.assert_close(head.tally, reference.tally, rtol=1e-6, atol=1e-6)


def test_a_data_set_that_raises_leaves_everything_as_it_was():
    learner = make()
    state = learn(learner, TASKS[:1])
    before, split = copy.deepcopy(state), Split(Broken())
    with pytest.raises(ValueError, match=r"example 13: expected an example that can be read.*truncated file"):
        learner.learn(state, Task("broken", split, split, 2, labels=(8, 9)))
    assert same_state(state, before)


@HEADS
def test_classes_that_appear_in_test_alone_are_unlikely_and_counted(head):
    """The task says three classes, its training examples have two: all columns are right, nothing is infinite."""
    tasks = [Task(t.name, t.train, t.test, 3, labels=(3 * n, 3 * n + 1, 3 * n + 2)) for n, t in enumerate(TASKS)]
    learner = make(head)
    state = learn(learner, tasks)
    x = torch.cat([t.test.x for t in TASKS])
    right = torch.cat([torch.tensor(t.labels)[t.test.y] for t in tasks])
    found = learner.predict(state, x)
    assert found.all_labels.tolist() == list(range(9))
    assert float((found.label() == right).double().mean()) > 0.85
    assert bool(memory_of(state).head.log_probs(memory_of(state).features(x)).isfinite().all())
    assert float(found.label_probs()[:, [2, 5, 8]].max()) < 0.1


def test_broken_inputs_and_features_are_refused_by_name():
    learner, bad = make(), TASKS[1].train.x.clone()
    bad[7, 2] = float("nan")
    split = Split(bad, TASKS[1].train.y)
    state = learn(learner, TASKS[:1])
    before = copy.deepcopy(state)
    with pytest.raises(ValueError, match=r"x.*: expected finite values"):
        learner.learn(state, Task("bad", split, split, 2, labels=(2, 3)))
    assert same_state(state, before)
    steep = torch.nn.Linear(4, 5)
    torch.nn.init.constant_(steep.weight, 1e38)
    with pytest.raises(ValueError, match="x: expected inputs with finite features"):
        ExactStream(Frozen(steep)).learn(None, TASKS[0])
    two = Split((TASKS[0].train.x, TASKS[0].train.x), TASKS[0].train.y)
    with pytest.raises((ValueError, TypeError), match="task: expected one tensor of inputs"):
        learner.learn(None, Task("two inputs", two, two, 2))


@HEADS
def test_left_out_predictions_are_those_of_a_stream_without_the_example(head):
    learner = make(head)
    state, task = learn(learner, TASKS), TASKS[1]
    found = learner.predict_left_out(state, task.train.x, task.train.y, 1)
    memory = memory_of(state)
    logits = memory.head.left_out_logits(memory.features(task.train.x), task.train.y + 2)
    joint = logits[:, 2:4].logsumexp(1)
    if head == "linear":
        gram = memory.head.gram + memory.head.fit().ridge * torch.eye(61).double()
        wide = torch.nn.functional.pad(memory.features(task.train.x).double(), (0, 1), value=1.0)
        for i in (0, 17):
            leverage = wide[i] @ torch.linalg.solve(gram - wide[i].outer(wide[i]), wide[i])
            joint[i] -= logits[i].logsumexp(0) + memory.head.count / 2 * leverage.log1p()
    torch.testing.assert_close(found.log_evidence[[0, 17], 0], joint[[0, 17]])
    torch.testing.assert_close(found.predictions[0].mean, logits[:, 2:4].softmax(1).float())
    seen = learner.predict_each(state, task.train.x, [1])
    own = [p.predictions[0].mean.gather(1, task.train.y[:, None]).log().mean() for p in (found, seen)]
    assert float(own[0]) < float(own[1])
    with pytest.raises(ValueError, match="y: expected class indices from 0 to 1"):
        learner.predict_left_out(state, task.train.x, task.train.y + 1, 1)


@pytest.mark.parametrize(("head", "more"), [("linear", -0.05), ("gaussian", 0.1)])
def test_thresholds_by_left_out_examples_hold_the_rate_of_false_alarms(head, more):
    """With as many features as examples, so that densities of learned examples are much higher than of new ones."""

    def split(size, seed):
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(4, (size,), generator=generator)
        x = torch.randn(size, 6, generator=generator)
        x[:, :4] += 2 * torch.nn.functional.one_hot(y, 4)
        return Split(x, y)

    task = Task("one", split(300, 0), split(4000, 1), 4)
    learner = make(head, size=200)
    state = learner.learn(None, task)
    new = learner.predict_each(state, task.test.x).scores("combined")
    left_out = learner.predict_left_out(state, task.train.x, task.train.y, 0).scores("combined")[:, 0]
    plain = learner.predict_each(state, task.train.x, [0]).scores("combined")[:, 0]
    rates = [float(Abstention.calibrate([s], 0.1).refused(new).double().mean()) for s in (left_out, plain)]
    assert rates[0] == pytest.approx(0.1, abs=0.05)
    assert rates[1] > rates[0] + more
    far = learner.predict_each(state, 30 + task.test.x[:100]).scores("combined")
    assert bool(Abstention.calibrate([left_out], 0.1).refused(far).all())
