"""Alarms of a run and the negative evidence lower bound: against closed forms and judged by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Separate, Split, Task, Training
from bayeshnet.distributions import MeanFieldGaussian
from bayeshnet.estimators import Diagnosis
from bayeshnet.guides import BayesianModel, Gaussian
from bayeshnet.reports import DriftRecord, KLRecord
from bayeshnet.runs.results.alarms import find_alarms, is_at_chance
from bayeshnet.runs.results.bounds import expected_nll, negative_elbos
from tests.support.tasks import learn, make_task

DTYPE = torch.float64


def values(size, seed=0):
    """A task of one target that is linear in two inputs."""
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 2, generator=noise, dtype=DTYPE)
    y = x @ torch.tensor([[1.0], [-2.0]], dtype=DTYPE) + 0.1 * torch.randn(size, 1, generator=noise, dtype=DTYPE)
    return Task("line", Split(x, y), Split(x, y), 1, "regression")


@pytest.mark.parametrize("size", [50, 3000])
def test_the_expected_loss_is_that_of_linear_regression(size):
    task, net = values(size), nn.Linear(2, 1, bias=False).double()
    loc, scale = torch.tensor([0.5, -1.0], dtype=DTYPE), torch.tensor([0.3, 0.1], dtype=DTYPE)
    q = MeanFieldGaussian(loc, scale)
    model = BayesianModel(net, q, Gaussian(0.5), num_data=size)
    found = expected_nll(model, q, task, num_samples=4000)
    x, y = task.train.x, task.train.y
    square = (y[:, 0] - x @ loc).square() + x.square() @ scale.square()
    truth = float((0.5 * square / 0.25 + 0.5 * math.log(2 * math.pi * 0.25)).sum())
    assert found == pytest.approx(truth, rel=0.04)


def test_the_bound_of_each_task_stands_beside_that_of_the_prior():
    learner = Separate(MLPNetwork((8,)), MeanFieldWeights(), training=Training(steps=300, lr=1e-2))
    tasks = [make_task(0), make_task(1)]
    state = learn(learner, tasks)
    kl = [KLRecord(5.0), KLRecord(None)]
    first, second = negative_elbos(learner, state, tasks, kl)
    prior = state.posterior.prior(tasks[0].train.x)
    model = BayesianModel(state.net, prior, state.likelihood, num_data=len(tasks[0].train))
    assert first["negative_elbo"] == pytest.approx(
        expected_nll(model, state.posterior(0), tasks[0], 1, 2000) + 5, rel=0.1
    )
    assert first["negative_elbo_prior"] == pytest.approx(expected_nll(model, prior, tasks[0], 1, 2000), rel=0.2)
    assert first["negative_elbo"] < first["negative_elbo_prior"]
    assert second["negative_elbo"] is None


def test_a_perfect_answer_is_not_chance_where_a_constant_one_is_as_good():
    """One class, nearly one class, constant targets: nothing says that the task was missed."""
    x = torch.randn(100, 2)
    for y in (torch.zeros(100), torch.arange(100) == 0):
        task = Task("classes", Split(x, y.long()), Split(x, y.long()), 2)
        assert not is_at_chance(task, 1.0)
        assert is_at_chance(task, 0.99)
    one = values(1)
    assert not is_at_chance(one, 0.3)
    assert is_at_chance(one, math.nan)


def test_chance_is_a_constant_answer():
    task = make_task(0)
    ones = float(task.test.y.double().mean())
    most = max(ones, 1 - ones)
    assert is_at_chance(task, most)
    assert is_at_chance(task, 0.3)
    assert not is_at_chance(task, 0.95)
    line = values(200)
    variance = float(line.test.y.var(correction=0))
    assert is_at_chance(line, variance)
    assert is_at_chance(line, math.nan)
    assert not is_at_chance(line, 0.5 * variance)


class Tasks(tuple):
    """A stream of classes."""

    kind = "classification"

    def __new__(cls, *tasks):
        return super().__new__(cls, tasks)


def audit(upper=50.0, flags=None):
    return Diagnosis(upper, upper, upper, {}, {"num_weights": 100}, flags or {})


def test_every_alarm_is_given_once_with_its_tasks():
    tasks = Tasks(make_task(0), make_task(1), make_task(2))
    assessments = [SimpleNamespace(given=(1.0, 1.0, 1.0)[: t + 1]) for t in range(3)]
    assessments[1] = SimpleNamespace(given=(1.0, 0.5))
    good = {"negative_elbo": 10.0, "negative_elbo_prior": 20.0}
    assert find_alarms(tasks, assessments[::2][:1], [audit()] * 3, [good] * 3) == {}
    flags = {"collapse": "The latent is ignored.", "kernel": "Of no concern.", "point": "A point has no KL."}
    found = find_alarms(
        tasks,
        assessments,
        [audit(), audit(0.05), audit(flags=flags)],
        [good, {"negative_elbo": 30.0, "negative_elbo_prior": 20.0}, {**good, "negative_elbo": None}],
        [DriftRecord(kl=7.0, lower=6.0, upper=8.0, verdict="trusted"), DriftRecord(accuracy=0.5, p_value=0.9)],
    )
    assert list(found) == ["chance", "elbo", "prior", "drift", "collapse"]
    assert found["chance"].startswith("task 2: ")
    assert found["elbo"] == "task 2: the negative ELBO, 30 nats, is above that of the untrained prior, 20 nats."
    assert found["prior"].startswith("task 2: the posterior is the prior")
    assert found["drift"].startswith("task 1: ")
    assert "7 nats (trusted)" in found["drift"]
    assert found["collapse"] == "task 3: The latent is ignored."


@pytest.mark.parametrize(("least", "said"), [(41.2, "not certified, but at least 41.2)"), (0.0, "(not certified)")])
def test_a_kl_that_is_not_certified_says_what_it_is_at_least(least, said):
    record = DriftRecord(kl=77.0, verdict="not certified", p_value=1e-9, accuracy=0.9, at_least=least)
    tasks = Tasks(make_task(0), make_task(1))
    moved = find_alarms(
        tasks, [SimpleNamespace(given=(1.0, 1.0)[: t + 1]) for t in range(2)], [audit()] * 2, [], [record]
    )
    assert said in moved["drift"]


def test_many_tasks_are_counted():
    tasks = Tasks(*[make_task(0)] * 12)
    found = find_alarms(tasks, [SimpleNamespace(given=(0.1,) * (t + 1)) for t in range(12)], [audit()] * 12)
    assert found["chance"].startswith("tasks 1, 2, 3, 4, 5, 6, 7, 8 and 4 more: ")
