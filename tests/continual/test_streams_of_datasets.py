"""Learning from examples that stay in a data set, from tokens and several inputs, with augmentation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import (
    EWC,
    Coreset,
    ExperienceReplay,
    NoiseOutliers,
    PosteriorReplay,
    Separate,
    Split,
    Task,
    Training,
    load_state,
)
from bayeshnet.data import from_arrays, from_datasets, split_by_class, split_dataset
from bayeshnet.runs import Experiment, Listener, run_experiment
from bayeshnet.runs.results.assessment import predict_splits
from bayeshnet.tasks import TaskStream
from tests.support.tasks import make_task, same_state

FAST = Training(steps=4, batch_size=8, num_particles=2, num_samples=2)


class Pairs(Dataset):
    """Pairs of a split in memory, one by one."""

    def __init__(self, split, broken=()):
        self.split, self.targets, self.broken = split, split.y, broken

    def __len__(self):
        return len(self.split)

    def __getitem__(self, i):
        if i in self.broken:
            raise OSError("no such sector")
        x = self.split.x
        return (tuple(part[i] for part in x) if isinstance(x, tuple) else x[i]), self.split.y[i]


def stored(task, **broken):
    parts = {name: Split(Pairs(part, broken.get(name, ()))) for name, part in task.splits().items()}
    return dataclasses.replace(task, **parts)


def learned(learner, tasks):
    state = None
    for number, task in enumerate(tasks):
        state = learner.learn(state, task, seed=number)
    return state


def accuracy(learner, state, number, task, **options):
    return float((learner.predict(state, task.test.x, number, **options).label == task.test.y).float().mean())


def test_learning_from_a_data_set_is_as_good_and_reproducible():
    learner = Separate(
        MLPNetwork((16,)), MeanFieldWeights(), training=Training(steps=120, lr=3e-2, beta=1e-3), num_samples=20
    )
    tasks = [make_task(0), make_task(1)]
    lazy = [stored(task) for task in tasks]
    state = learned(learner, lazy)
    assert all(accuracy(learner, state, t, task) > 0.9 for t, task in enumerate(tasks))
    assert same_state(state, learned(learner, lazy))
    several = predict_splits(learner, state, [task.test for task in lazy])
    whole = predict_splits(learner, state, [task.test for task in tasks])
    torch.testing.assert_close(several.means, whole.means)
    torch.testing.assert_close(several.log_density, whole.log_density)


def test_workers_change_nothing():
    learner = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=FAST)
    more = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=dataclasses.replace(FAST, num_workers=1))
    assert same_state(learner.learn(None, stored(make_task(0))), more.learn(None, stored(make_task(0))))


class Begun(Listener):
    """Notes the numbers of the tasks that are learned."""

    def __init__(self):
        self.numbers = []

    def callbacks(self, number, stream):
        self.numbers.append(number)
        return []


@pytest.mark.slow
def test_a_run_on_data_sets_is_whole_and_names_what_cannot_be_read(tmp_path):
    """An example of the second task fails: the first stays saved, and the run goes on when it can be read again."""
    learner = ExperienceReplay(MLPNetwork((4,)), MeanFieldWeights(), training=FAST, num_samples=3, memory_size=3)
    tasks = [make_task(0), make_task(1)]

    def build(**broken):
        return TaskStream([stored(tasks[0]), stored(tasks[1], **broken)], "own")

    experiment, whole = Experiment(learner), run_experiment(Experiment(learner), stream=build())
    with pytest.raises(ValueError, match="data, example 8: expected an example that can be read, got OSError"):
        run_experiment(experiment, tmp_path / "tested", stream=build(test=[8]))  # before it is learned: transfer
    assert (tmp_path / "tested" / "checkpoints" / "learned.json").is_file()
    with pytest.raises(ValueError, match="data, example 6"):
        run_experiment(experiment, tmp_path / "learned", stream=build(train=[6]))
    assert (tmp_path / "learned" / "checkpoints" / "task-01.json").is_file()
    for name in ("tested", "learned"):
        begun = Begun()
        resumed = run_experiment(experiment, tmp_path / name, begun, stream=build())
        assert begun.numbers == [1]  # what was learned of the first task is not learned again
        assert same_state(resumed.state, whole.state)
        assert resumed.result.matrix == whole.result.matrix


def test_tasks_of_two_three_and_five_classes():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(10).repeat_interleave(40)
    x = torch.randn(10, 6, generator=generator)[y] * 3 + torch.randn(400, 6, generator=generator)
    arrays = [(x[(y >= a) & (y < b)], y[(y >= a) & (y < b)]) for a, b in ((0, 2), (2, 5), (5, 10))]
    stream = from_arrays(arrays)
    assert [task.num_outputs for task in stream] == [2, 3, 5]
    training = Training(steps=200, lr=1e-2, num_particles=2)
    learner = Separate(MLPNetwork((16,)), MeanFieldWeights(), training=training, num_outputs=5, num_samples=20)
    state = learned(learner, stream)
    assert all(accuracy(learner, state, t, task) > 0.9 for t, task in enumerate(stream))
    right = [learner.predict(state, task.test.x).label() == torch.tensor(task.labels)[task.test.y] for task in stream]
    assert float(torch.cat(right).float().mean()) > 0.9


def test_classes_that_come_back_share_their_label():
    """Class 1 is in both tasks: its probability is the sum over them, and a joint softmax counts it once a task."""
    x = torch.tensor([[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]]).repeat(30, 1)
    x = x + 0.1 * torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(3).repeat(30)
    stream = from_arrays([(x[y < 2], y[y < 2]), (x[y > 0], y[y > 0])])
    assert [task.labels for task in stream] == [(0, 1), (1, 2)]
    learner = Separate(MLPNetwork((8,)), MeanFieldWeights(), training=Training(steps=150, lr=1e-2), num_samples=20)
    state = learned(learner, stream)
    prediction = learner.predict(state, x)
    assert prediction.all_labels.tolist() == [0, 1, 2]
    assert torch.allclose(prediction.label_probs().sum(1), torch.ones(90), atol=1e-5)
    assert float((prediction.label_probs().argmax(1) == y).float().mean()) > 0.95


class Texts(nn.Module):
    """Mean of embedded tokens, then a linear layer."""

    def __init__(self, size=20, outputs=2):
        super().__init__()
        self.embedding, self.out = nn.Embedding(size, 8), nn.Linear(8, outputs)

    def forward(self, tokens):
        return self.out(self.embedding(tokens).mean(1))


def sentences(first, second, seed):
    """Sentences of six tokens: of class 0 if they have more of one set of words than of another."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(120) % 2
    words = torch.tensor([first, second])
    own = torch.randint(4, (120, 4), generator=generator)
    other = torch.randint(4, (120, 2), generator=generator)
    x = torch.cat([words[y].gather(1, own), words[1 - y].gather(1, other)], 1)
    return x[:, torch.randperm(6, generator=generator)], y + 2 * seed


def test_a_text_classifier_over_an_embedding(tmp_path):
    """Tokens have no density: the task is given, or inferred from predictions, also in a run."""
    arrays = [sentences([0, 1, 2, 3], [4, 5, 6, 7], 0), sentences([8, 9, 10, 11], [12, 13, 14, 15], 1)]
    stream = from_arrays(arrays, tokens=True)
    learner = Separate(
        Texts(), MeanFieldWeights(), training=Training(steps=100, lr=3e-2, num_particles=1), num_samples=10
    )
    trained = run_experiment(Experiment(learner), tmp_path / "run", stream=stream)
    assert trained.result.final["accuracy_task_given"] > 95
    assert set(trained.result.final["accuracy_task_inferred"]).isdisjoint({"density", "combined"})
    assert "last_accuracy" in trained.result.final
    prediction = learner.predict(trained.state, stream[0].test.x)
    with pytest.raises(ValueError, match="Integer inputs have no density: give the task"):
        prediction.task()
    noisy = Separate(Texts(), MeanFieldWeights(), training=FAST, outliers=NoiseOutliers())
    with pytest.raises(TypeError, match="Leave outliers out for tokens, and for several inputs"):
        noisy.learn(None, stream[0])


class TwoEyes(nn.Module):
    """Logits of the product of two inputs."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(3, 8), nn.Linear(2, 8), nn.Linear(8, 2)

    def forward(self, x, z):
        return self.out(torch.tanh(self.left(x)) * torch.tanh(self.right(z)))


def two_inputs(seed, shift=0.0):
    """The class is whether the signs of the first entries of two inputs agree: neither tells it alone."""
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(200, 3, generator=generator) + shift, torch.randn(200, 2, generator=generator)
    y = ((x[:, 0] - shift) * z[:, 0] > 0).long()
    part = [Split((x[a:b], z[a:b]), y[a:b]) for a, b in ((0, 150), (150, 200))]
    return Task(f"task {seed}", *part, 2, labels=(2 * seed, 2 * seed + 1))


@pytest.mark.parametrize("in_memory", [True, False])
def test_several_inputs(tmp_path, in_memory):
    tasks = [two_inputs(0), two_inputs(1)]
    given = tasks if in_memory else [stored(task) for task in tasks]
    training = Training(steps=160, lr=3e-2, num_particles=1, beta=0.1) if in_memory else FAST
    learner = Separate(TwoEyes(), MeanFieldWeights(), training=training, num_samples=20)
    state = learned(learner, given)
    assert all(accuracy(learner, state, t, task) > 0.85 for t, task in enumerate(tasks)) or not in_memory
    prediction = learner.predict(state, tasks[0].test.x)
    assert prediction.log_density is None
    uncertain = ("entropy", "confidence", "agreement", "mutual_information", "superposition")
    assert prediction.criteria == (*uncertain, "max_logit", "energy")
    state.save(tmp_path / "state")
    again = load_state(tmp_path / "state", learner=learner)
    assert torch.equal(learner.predict(again, tasks[0].test.x, 0).mean, learner.predict(state, tasks[0].test.x, 0).mean)
    with pytest.raises(ValueError, match=r"x: expected inputs of shape \(N, 3\) and \(N, 2\), in a tuple"):
        learner.predict(state, (tasks[0].test.x[0], tasks[0].test.x[0]))


def test_what_several_inputs_are_not_for_is_said_before_training():
    task = two_inputs(0)
    with pytest.raises(TypeError, match=r"network: expected a torch.nn.Module that takes several inputs"):
        Separate(MLPNetwork((4,)), MeanFieldWeights(), training=FAST).learn(None, task)
    with pytest.raises(ValueError, match="task: expected one tensor of inputs, for gradients of each example"):
        EWC(TwoEyes(), PointWeights(), training=FAST).learn(None, task)


def test_stored_examples_of_several_inputs_are_replayed_and_saved(tmp_path):
    tasks = [two_inputs(0), two_inputs(1)]
    replay = ExperienceReplay(TwoEyes(), MeanFieldWeights(), training=FAST, num_samples=3, memory_size=5)
    posterior = ImplicitGenerator(latent_size=1, embedding_size=2, hidden_layers=(2,))
    coreset = PosteriorReplay(TwoEyes(), posterior, training=FAST, num_samples=3, coreset=Coreset(size=4, finish=FAST))
    state = learned(coreset, tasks)
    state = coreset.finish(state)
    x, _ = state.memory.of(1)
    assert [part.shape for part in x] == [(4, 3), (4, 2)]
    state.save(tmp_path / "coreset")
    assert same_state(load_state(tmp_path / "coreset", learner=coreset), state)
    single = replay.learn(None, tasks[0])
    assert single.memory.num_examples == 5
    row = (single.memory.of(0)[0][0][:, None] == tasks[0].train.x[0]).all(-1).int().argmax(1)
    assert torch.equal(single.memory.of(0)[0][1], tasks[0].train.x[1][row])


def test_augmentation_is_for_training_alone():
    """Training images show one side of a thing; augmentation by mirrors teaches the other, which the test asks for."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 2
    x = 0.2 * torch.randn(80, 1, 4, 4, generator=generator)
    x[torch.arange(80), 0, 1 + y, 0] += 2.0  # a dot at the left, in row 1 or 2
    mirrored = x.flip(-1)
    task = Task("dots", Split(x[:60], y[:60]), Split(mirrored[60:], y[60:]), 2)
    shapes = []

    def mirror(batch):
        shapes.append(tuple(batch.shape))
        flip = torch.rand(len(batch), 1, 1, 1) < 0.5
        return torch.where(flip, batch.flip(-1), batch)

    found = {}
    for name, function in (("plain", None), ("mirrored", mirror)):
        training = Training(steps=150, lr=1e-2, num_particles=2, augmentation=function)
        learner = Separate(MLPNetwork((16,)), MeanFieldWeights(), training=training, num_samples=20)
        state = learner.learn(None, task)
        found[name] = accuracy(learner, state, 0, task)
        assert same_state(state, learner.learn(None, task))
    assert found["mirrored"] > 0.95 > 0.8 > found["plain"]
    assert set(shapes) == {(32, 1, 4, 4)}
    count = len(shapes)
    learner.predict(state, x)
    assert len(shapes) == count == 2 * 150
    lazy = Separate(MLPNetwork((4,)), MeanFieldWeights(), training=dataclasses.replace(FAST, augmentation=mirror))
    lazy.learn(None, stored(task))
    assert shapes[-1] == (8, 1, 4, 4)


@pytest.mark.parametrize(
    ("augmentation", "error", "message"),
    [
        (lambda x: x[:2], ValueError, "augmentation: expected a function that returns as many inputs"),
        (lambda x: None, TypeError, "augmentation: expected inputs"),
        (lambda: None, TypeError, "augmentation: expected a function of a batch of inputs"),
    ],
)
def test_augmentations_that_are_none_are_named(augmentation, error, message):
    training = dataclasses.replace(FAST, augmentation=augmentation)
    with pytest.raises(error, match=message):
        Separate(MLPNetwork((4,)), MeanFieldWeights(), training=training).learn(None, make_task(0))
    with pytest.raises(TypeError, match="augmentation: expected a function"):
        dataclasses.replace(FAST, augmentation="flip")


def test_builders_leave_data_sets_where_they_are():
    x, y = torch.rand(48, 3), torch.arange(48) % 4
    data = TensorDataset(x, y)
    options = {"validation_fraction": 0.2, "max_train": 12, "data_seed": 3}
    for lazy, dense in (
        (split_dataset(data, in_memory=False, **options), split_by_class(x, y, **options)),
        (from_datasets([data, data], in_memory=False), from_arrays([(x, y), (x, y)])),
    ):
        for a, b in zip(lazy, dense, strict=True):
            assert (a.labels, a.name, a.num_outputs) == (b.labels, b.name, b.num_outputs)
            for part, other in zip(a.splits().values(), b.splits().values(), strict=True):
                assert not part.in_memory
                assert torch.equal(part.load().x, other.x)
                assert torch.equal(part.y, other.y)
    with pytest.raises(ValueError, match="flatten: expected False"):
        split_dataset(data, in_memory=False, flatten=True)
    with pytest.raises(ValueError, match="labels in test: expected labels that occur in training"):
        split_dataset(data, TensorDataset(x, y + 1), in_memory=False)
