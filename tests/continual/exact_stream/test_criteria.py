"""Criteria of exact learners: densities, distances and logits under tasks, and the rate at which inputs are refused."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import multivariate_t

from bayeshnet.continual import Abstention, DensitySettings, ExactStream, Split, Task
from bayeshnet.continual.exact_stream.learner import memory_of
from bayeshnet.features import Frozen, RandomFourier
from tests.support.tasks import learn, make_task

TASKS = [make_task(t) for t in range(3)]
INPUTS = torch.cat([task.test.x for task in TASKS])
NUMBERS = torch.arange(3).repeat_interleave(40)
HEADS = pytest.mark.parametrize("head", ["linear", "gaussian"])


def make(head="linear", features=None):
    density = DensitySettings(num_parts=1, num_components=1)
    return ExactStream(features or RandomFourier(60, lengthscale=2.0), head=head, density=density)


@HEADS
def test_every_criterion_finds_the_tasks(head):
    learner = make(head)
    found = learner.predict(learn(learner, TASKS), INPUTS)
    own = {"evidence", "mahalanobis", "max_logit", "energy", "softmax", "combined"}
    assert own <= set(found.criteria)
    assert not {"vim", "logit_variance"} & set(found.criteria)
    for criterion in own:
        assert float((found.task(criterion) == NUMBERS).double().mean()) > 0.9


@HEADS
def test_the_energy_gives_the_joint_softmax(head):
    learner = make(head)
    found = learner.predict(learn(learner, TASKS), INPUTS)
    torch.testing.assert_close(found.task_posterior("energy"), found.task_posterior("softmax"), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.task_posterior(), found.task_posterior("softmax"), rtol=1e-4, atol=1e-6)
    assert [part.shape for part in found.logits] == [(120, 2)] * 3
    torch.testing.assert_close(found.logits[1].softmax(1), found.predictions[1].mean)


def test_evidence_and_distances_are_those_of_gaussian_classes_with_one_covariance():
    """Against the scatter of all training examples around the means of their classes."""
    learner = make(features=Frozen(torch.nn.Flatten()))
    state = learn(learner, TASKS)
    found, memory = learner.predict(state, INPUTS[:6]), memory_of(state)
    x = memory.features(torch.cat([t.train.x for t in TASKS])).double()
    y = torch.cat([t.train.y + 2 * n for n, t in enumerate(TASKS)])
    means = torch.stack([x[y == c].mean(0) for c in range(6)])
    scatter = (x - means[y]).T @ (x - means[y]) + memory.head.fit().ridge * torch.eye(4).double()
    freedom = len(x) + 1
    for i, new in enumerate(memory.features(INPUTS[:6]).double()):
        distance = ((new - means) * torch.linalg.solve(scatter, (new - means).T).T).sum(1) * (4 + len(x))
        torch.testing.assert_close(found.mahalanobis[i].double(), distance.reshape(3, 2).amin(1), rtol=1e-4, atol=1e-4)
        right = torch.zeros(3).double()
        for t in range(3):
            counts = torch.stack([(y == c).sum() for c in (2 * t, 2 * t + 1)]).double()
            each = [
                multivariate_t(means[2 * t + k].numpy(), scatter.numpy() * (1 + 1 / n) / freedom, freedom).logpdf(new)
                for k, n in enumerate(counts.tolist())
            ]
            right[t] = (torch.tensor(each) + (counts / counts.sum()).log()).logsumexp(0)
        torch.testing.assert_close(found.evidence[i], right, rtol=1e-6, atol=1e-6)


def overlapping(number, size, seed):
    """A task of two of six classes whose Gaussians overlap with those of the other tasks."""
    generator = torch.Generator().manual_seed(10 * seed + number)
    y = torch.randint(2, (size,), generator=generator)
    x = torch.randn(size, 6, generator=generator) + 2 * torch.nn.functional.one_hot(2 * number + y, 6)
    return Split(x, y)


@HEADS
def test_the_rate_of_false_alarms_is_kept_where_tasks_overlap(head):
    """Of test inputs about as many are refused as asked for, although each task's posterior is vague; foreign ones are.

    A score that is the posterior of the task alone, or that weighs the input as little, refuses none of either.
    """
    tasks = [
        Task(f"task {n}", overlapping(n, 400, 0), overlapping(n, 1000, 1), 2, labels=(2 * n, 2 * n + 1))
        for n in range(3)
    ]
    learner = make(head, RandomFourier(100, lengthscale=2.0))
    state = learn(learner, tasks)
    known, far = learner.predict(state, torch.cat([t.test.x for t in tasks])), 3 * torch.randn(300, 6) + 4
    assert 0.6 < float((known.task() == torch.arange(3).repeat_interleave(1000)).double().mean()) < 0.9
    left_out = [learner.predict_left_out(state, t.train.x, t.train.y, n) for n, t in enumerate(tasks)]
    rates = {}
    for criterion in ("combined", "softmax"):
        rule = Abstention.calibrate([part.scores(criterion)[:, 0] for part in left_out], 0.05)
        refused = [rule.refused(part.scores(criterion)) for part in (known, learner.predict(state, far))]
        rates[criterion] = [100 * float(part.double().mean()) for part in refused]
    assert 2 < rates["combined"][0] < 6.5
    assert rates["combined"][1] > 90
    assert rates["softmax"][0] < 0.5


@HEADS
def test_a_singular_gram_matrix_and_a_class_of_one_example_have_finite_scores(head):
    """Two features are equal and one is constant; the last task has one example of one of its classes."""

    def doubled(x):
        return torch.cat([x, x, torch.ones(len(x), 1)], dim=1)

    splits = [Split(doubled(t.train.x), t.train.y) for t in TASKS]
    lone = torch.cat([(splits[2].y == 0).nonzero()[:, 0], (splits[2].y == 1).nonzero()[:1, 0]])
    splits[2] = splits[2].select(lone)
    tasks = [Task(f"{n}", s, s, 2, labels=(2 * n, 2 * n + 1)) for n, s in enumerate(splits)]
    learner = make(head, Frozen(torch.nn.Flatten()))
    state = learn(learner, tasks)
    found = learner.predict(state, doubled(INPUTS))
    assert float((found.task() == NUMBERS).double().mean()) > 0.9
    for part in (found, learner.predict_left_out(state, splits[2].x, splits[2].y, 2)):
        for criterion in part.criteria:
            assert bool(part.scores(criterion).isfinite().all()), criterion
