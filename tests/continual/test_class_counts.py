"""Tasks with different numbers of classes: the softmax is over the classes that exist, whatever the network's width."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bayeshnet.builders import ImplicitGenerator, MeanFieldWeights, MLPNetwork, PointWeights
from bayeshnet.continual import (
    EWC,
    Coreset,
    ExperienceReplay,
    FineTuning,
    FixedSoftmax,
    GrowingSoftmax,
    Joint,
    NoiseOutliers,
    PosteriorReplay,
    PriorFocused,
    Separate,
    SharedHead,
    Split,
    SplitHeads,
    Task,
    TaskStream,
    Training,
    load_state,
)
from bayeshnet.continual.experience_replay import ReplayedExamples
from bayeshnet.guides import BayesianModel, Categorical
from bayeshnet.runs import Experiment, RunFolder, run_experiment
from bayeshnet.runs.preview import preview
from tests.support.steps import step_with
from tests.support.tasks import learn, same_state

COUNTS = (2, 3, 5)
STARTS = (0, 2, 5)  # of the labels of each task, and of its outputs among those that exist


def make_task(number, size=90):
    """Classes at the corners of a simplex in the last dimensions; one of the first three tells the task."""
    count, generator = COUNTS[number], torch.Generator().manual_seed(number)
    y = torch.arange(size) % count
    x = 0.2 * torch.randn(size, 8, generator=generator)
    x[:, number] += 2.0
    x[torch.arange(size), 3 + y] += 2.0
    labels = tuple(range(STARTS[number], STARTS[number] + count))
    return Task(f"task {number}", Split(x[:60], y[:60]), Split(x[60:], y[60:]), count, labels=labels)


TASKS = [make_task(t) for t in range(3)]
INPUTS = torch.cat([task.test.x for task in TASKS])
NET = MLPNetwork((16,), "tanh")
QUICK = {"training": Training(steps=3, batch_size=16, num_particles=2), "num_samples": 5, "num_outputs": 5}
HEADS = {"split": SplitHeads(), "shared": SharedHead(), "growing": GrowingSoftmax(), "fixed": FixedSoftmax(4)}


def masked(logits, keep):
    """The softmax over the outputs ``keep`` alone: all other logits are minus infinity."""
    out = torch.full_like(logits, -math.inf)
    out[:, keep] = logits[:, keep]
    return (out - out.logsumexp(-1, keepdim=True)).exp()


def logits_of(state, x):
    """All outputs of the network at its one weight vector."""
    weights = state.posterior(0).mean.detach()
    return state.net(x, weights=state.net.weight_spec.split(weights)).detach()


def block(name, task):
    """Numbers of the outputs that belong to a task."""
    start = 0 if name == "shared" else 5 * task
    return list(range(start, start + COUNTS[task]))


@pytest.mark.parametrize("name", HEADS)
def test_predictions_are_a_masked_softmax(name):
    learner = EWC(NET, heads=HEADS[name], **QUICK)
    state = learn(learner, TASKS)
    assert state.sizes == list(COUNTS)
    assert state.net.weight_spec.shapes[-1] == ({"shared": 5, "fixed": 20}.get(name, 15),)
    logits = logits_of(state, INPUTS)
    inferred = learner.predict(state, INPUTS)
    for task, count in enumerate(COUNTS):
        expected = masked(logits, block(name, task))
        given = learner.predict(state, INPUTS, task_id=task)
        assert given.mean.shape == (len(INPUTS), count)
        torch.testing.assert_close(given.mean, expected[:, block(name, task)])
        torch.testing.assert_close(given.total, -expected.xlogy(expected).sum(-1))
        torch.testing.assert_close(inferred.means[:, task, :count], given.mean)
        assert inferred.means[:, task, count:].eq(0).all()


@pytest.mark.parametrize("name", ["growing", "fixed"])
def test_tasks_compete_by_the_classes_that_exist(name):
    """One softmax over ten classes, or with the five that may come; not over the fifteen outputs of three blocks."""
    learner = ExperienceReplay(NET, PointWeights(), heads=HEADS[name], **QUICK)
    state = learn(learner, TASKS)
    future = list(range(15, 20)) if name == "fixed" else []
    exist = [i for task in range(3) for i in block(name, task)]
    probs = masked(logits_of(state, INPUTS), exist + future)
    expected = torch.stack([probs[:, block(name, task)].sum(-1) for task in range(3)], -1).log()
    torch.testing.assert_close(learner.predict(state, INPUTS).task_log_prob, expected)


@pytest.mark.parametrize("name", HEADS)
def test_the_likelihood_of_training_is_that_of_the_masked_softmax(name):
    learner = EWC(NET, heads=HEADS[name], **QUICK)
    state = learn(learner, TASKS)
    exist = [i for t in range(3) for i in block(name, t)] + (list(range(15, 20)) if name == "fixed" else [])
    for number, task in enumerate(TASKS):
        net, targets = learner.training_problem(state, task, number)
        x, y = task.train.x, task.train.y
        weights = net.weight_spec.split(state.posterior(0).mean.detach())
        got = Categorical().log_prob(net(x, weights=weights), targets)
        probs = masked(logits_of(state, x), exist if learner.heads.joint else block(name, number))
        expected = probs[torch.arange(len(x)), torch.tensor(block(name, number))[y]].log()
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", HEADS)
def test_replayed_examples_have_the_masked_likelihood(name):
    """Draws of the memory are replaced by all it holds, so that the added loss can be written down."""
    learner = Joint(NET, PointWeights(), heads=HEADS[name], **QUICK)
    two = learn(learner, TASKS[:2])
    three = learner.learn(two, TASKS[2])
    memory = two.memory
    x, y = (torch.cat([memory.of(t)[i] for t in range(2)]) for i in range(2))
    number = torch.tensor([0, 1]).repeat_interleave(60)
    memory.draw_each = lambda num, generator: [(x[number == t], y[number == t]) for t in range(2)]
    loss = ReplayedExamples(learner, three, memory, 0.5, torch.Generator())
    weights = three.posterior(0).mean.detach().unsqueeze(0)
    exist = [i for t in range(3) for i in block(name, t)] + (list(range(15, 20)) if name == "fixed" else [])
    logits, expected = logits_of(three, x), 0.0
    for task in range(2):
        rows = number == task
        probs = masked(logits[rows], exist if learner.heads.joint else block(name, task))
        own = torch.tensor(block(name, task))[y[rows]]
        expected = expected - probs.gather(1, own[:, None]).log().sum()
    model = BayesianModel(three.net, three.posterior.prior(x), three.likelihood, num_data=len(x))
    found = loss(step_with(model, weights, x, y))
    torch.testing.assert_close(found, expected * 0.5 / len(x))


LEARNERS = {
    "replay": lambda training: PosteriorReplay(
        NET,
        ImplicitGenerator(latent_size=2, embedding_size=4, hidden_layers=(16,)),
        training=training,
        num_samples=10,
        num_outputs=5,
        outliers=NoiseOutliers(0.1),
        coreset=Coreset(size=9, finish=training),
    ),
    "prior-focused": lambda training: PriorFocused(
        NET, MeanFieldWeights(), training=training, num_samples=10, num_outputs=5
    ),
    "ewc": lambda training: EWC(NET, training=training, num_samples=10, num_outputs=5),
    "experience-replay": lambda training: ExperienceReplay(
        NET, PointWeights(), heads=GrowingSoftmax(), training=training, num_samples=10, num_outputs=5
    ),
    "joint": lambda training: Joint(
        NET, MeanFieldWeights(), heads=FixedSoftmax(3), training=training, num_samples=10, num_outputs=5
    ),
    "separate": lambda training: Separate(NET, MeanFieldWeights(), training=training, num_samples=10, num_outputs=5),
    "own-module": lambda training: FineTuning(
        nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 5)),
        MeanFieldWeights(),
        heads=SharedHead(),
        training=training,
        num_samples=10,
        num_outputs=5,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("joint", "separate"))) for n in LEARNERS]
)
def test_streams_of_two_three_and_five_classes_are_learned(name):
    """Every class is a cluster, so that each task is learned; the labels of all tasks are told from the density."""
    learner = LEARNERS[name](Training(steps=150, batch_size=30, lr=2e-2, num_particles=2, beta=0.01))
    state = learn(learner, TASKS)
    forgets = name == "own-module"
    for number, task in list(enumerate(TASKS))[-1 if forgets else 0 :]:
        given = learner.predict(state, task.test.x, task_id=number)
        assert (given.label == task.test.y).double().mean() >= 0.9
    inferred = learner.predict(state, INPUTS)
    assert inferred.all_labels.tolist() == list(range(10))
    assert inferred.label_probs().shape == (len(INPUTS), 10)
    torch.testing.assert_close(inferred.label_probs().sum(-1), torch.ones(len(INPUTS)))
    if not forgets:
        labels = torch.cat([torch.tensor(task.labels)[task.test.y] for task in TASKS])
        assert (inferred.label("density") == labels).double().mean() >= 0.9
        assert (inferred.label_probs("density").argmax(-1) == labels).double().mean() >= 0.9


@pytest.mark.parametrize("name", LEARNERS)
def test_class_counts_are_saved(name, tmp_path):
    learner = LEARNERS[name](QUICK["training"])
    state = learn(learner, TASKS[:2])
    loaded = load_state(state.save(tmp_path))
    assert (loaded.sizes, loaded.labels) == ([2, 3], [(0, 1), (2, 3, 4)])
    assert same_state(loaded.learner.learn(loaded, TASKS[2], seed=1), learner.learn(state, TASKS[2], seed=1))
    assert torch.equal(loaded.learner.predict(loaded, INPUTS).means, learner.predict(state, INPUTS).means)
    finished = learner.finish(learner.learn(state, TASKS[2]), seed=2)
    assert finished.sizes == [2, 3, 5]


def test_classes_that_a_task_does_not_have_are_impossible():
    learner = EWC(NET, **QUICK)
    stream = learner.predict(learn(learner, TASKS), INPUTS[:6])
    y = torch.tensor([0, 1, 2, 3, 4, 1])
    got = stream.target_log_prob(y)
    assert got.isinf().tolist() == [[int(label) >= count for count in COUNTS] for label in y]
    for task, count in enumerate(COUNTS):
        inside = y < count
        expected = stream.predictions[task].mean[inside].gather(1, y[inside, None])[:, 0].log()
        torch.testing.assert_close(got[inside, task], expected)
    for criterion in stream.criteria:
        scores = stream.scores(criterion)
        assert scores.shape == (6, 3)
        assert scores.isfinite().all()
    assert stream.label_table.tolist() == [[0, 1, 0, 0, 0], [2, 3, 4, 2, 2], [5, 6, 7, 8, 9]]


def test_superposition_takes_absent_classes_as_impossible():
    learner = EWC(NET, **QUICK)
    stream = learner.predict(learn(learner, TASKS), INPUTS[:4])
    means = torch.stack([nn.functional.pad(p.mean, (0, 5 - p.mean.shape[1])) for p in stream.predictions], -1).double()
    average = means.mean(-1)
    expected = torch.stack([(means[..., t] * average.log()).sum(1) + 1 for t in range(3)], -1)
    torch.testing.assert_close(stream.scores("superposition").double(), expected, rtol=1e-5, atol=1e-5)


def test_wider_tasks_than_the_network_are_refused():
    learner = EWC(NET, **{**QUICK, "num_outputs": None})
    message = "task 'task 1': expected at most 2 classes, got 3. Pass num_outputs=3, the classes of the widest task"
    with pytest.raises(ValueError, match=message):
        learn(learner, TASKS)
    with pytest.raises(ValueError, match=r"task 'task 2': expected at most 4 classes, got 5\. Pass num_outputs=5"):
        EWC(NET, **{**QUICK, "num_outputs": 4}).learn(None, TASKS[2])
    state = EWC(NET, **{**QUICK, "num_outputs": None}).learn(None, TASKS[2])
    assert learner.learn(state, TASKS[0]).sizes == [5, 2]
    for bad, error in ((0, ValueError), (2.5, TypeError), ("5", TypeError)):
        with pytest.raises(error, match="num_outputs: expected an integer"):
            EWC(NET, **{**QUICK, "num_outputs": bad})


@pytest.mark.parametrize("width", [2, 6])
def test_networks_of_another_width_are_refused(width):
    """The outputs of a given network cannot be changed: those of no class would take probability."""
    net = nn.Sequential(nn.Linear(8, width))
    with pytest.raises(ValueError, match=f"network: expected one of 5 outputs, got one of {width}"):
        Separate(net, MeanFieldWeights(), **QUICK).learn(None, TASKS[2])
    with pytest.raises(ValueError, match=f"network: expected one of 3 outputs, got one of {width}"):
        Separate(net, MeanFieldWeights(), **{**QUICK, "num_outputs": None}).learn(None, TASKS[1])


def test_values_need_one_number_of_targets():
    x = torch.randn(9, 3)
    one, two = (
        Task(f"{c} values", Split(x, torch.randn(9, c)), Split(x, torch.randn(9, c)), c, "regression") for c in (1, 2)
    )
    with pytest.raises(ValueError, match="task '2 values': expected num_outputs 1 as in task '1 values', got 2"):
        TaskStream([one, two])
    learner = PriorFocused(NET, MeanFieldWeights(), **{**QUICK, "num_outputs": None})
    with pytest.raises(ValueError, match="task '2 values': expected num_outputs 1 as before, got 2"):
        learn(learner, [one, two])
    with pytest.raises(ValueError, match="num_outputs: expected None for tasks of values, got 5"):
        PriorFocused(NET, MeanFieldWeights(), **QUICK).learn(None, one)


@pytest.mark.parametrize(("given", "found"), [(None, "2, those of the first task"), (3, "3")])
def test_runs_name_the_widest_task_before_anything_is_learned(given, found, tmp_path):
    stream, learner = TaskStream(TASKS), Separate(NET, MeanFieldWeights(), **{**QUICK, "num_outputs": given})
    message = f"num_outputs: expected 5, the classes of the widest task, {TASKS[2].name!r}, got {found}. Pass num_outp"
    with pytest.raises(ValueError, match=message):
        run_experiment(Experiment(learner), tmp_path / "run", stream=stream)
    with pytest.raises(ValueError, match=message):
        preview(Experiment(learner), stream)
    assert RunFolder(tmp_path / "run").last_task() == 0


@pytest.mark.slow
def test_runs_of_such_streams(tmp_path):
    """Accuracy before a task is learned is compared with the chance of that task."""
    stream = TaskStream(TASKS, name="wider and wider")
    assert stream.num_outputs == 5
    experiment = Experiment(LEARNERS["experience-replay"](QUICK["training"]))
    run = run_experiment(experiment, tmp_path / "run", stream=stream)
    assert run.state.sizes == list(COUNTS)
    ahead = torch.tensor([a.ahead for a in run.assessments[:-1]], dtype=torch.float64)
    expected = 100 * (ahead - torch.tensor([1 / 3, 1 / 5], dtype=torch.float64)).mean()
    torch.testing.assert_close(torch.tensor(run.result.final["forward_transfer"], dtype=torch.float64), expected)
    again = run_experiment(experiment, tmp_path / "run", stream=stream)
    assert same_state(again.state, run.state)
    assert again.state.sizes == list(COUNTS)
