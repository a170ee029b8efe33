"""Two weights for each task: mode and curvature against optimization and autograd, and when tasks share them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from bayeshnet.continual import Combination
from bayeshnet.continual.task_inference.combination import CombinationMemory
from bayeshnet.continual.task_inference.weighing import learn_task_weights, learn_weights, task_scores
from tests.support.predictions import class_stream, with_kept

DTYPE = torch.float64
TASKS, SIZE = 3, 8


def scores(count=60, tasks=TASKS, own=1, seed=0):
    """Scores of examples of task ``own``, whose evidence is larger there by two, times three: over-confident."""
    generator = torch.Generator().manual_seed(seed)
    density = 3 * torch.randn(count, tasks, dtype=DTYPE, generator=generator) - 40
    density[:, own] += 4
    within = -torch.rand(count, tasks, dtype=DTYPE, generator=generator)
    within[:, own] *= 0.5
    return density, within


def prior(seed=1):
    """A mean and a precision that is not diagonal."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(SIZE, SIZE, dtype=DTYPE, generator=generator)
    return 0.3 * torch.randn(SIZE, dtype=DTYPE, generator=generator), root @ root.T / SIZE + torch.eye(SIZE)


def log_probs(theta, density, within):
    """Log-probability of each task, by numpy."""
    own = np.exp(theta[:2] + theta[2:].reshape(-1, 2))
    ratio = density - logsumexp(density, axis=1, b=1 / density.shape[1], keepdims=True)
    return log_softmax(own[:, 0] * ratio + own[:, 1] * within, axis=1)


@pytest.mark.parametrize("entropy", [True, False])
def test_the_mode_is_that_of_an_optimizer(entropy):
    (density, within), (mean, precision) = scores(), prior()
    found, _, _ = learn_task_weights(density, within, 1, mean, precision, weigh_entropy=entropy)
    start, p, free = mean.numpy(), precision.numpy(), np.tile([True, entropy], SIZE // 2)

    def loss(part):
        theta = start.copy()
        theta[free] = part
        off = theta - start
        return 0.5 * off @ p @ off - log_probs(theta, density.numpy(), within.numpy())[:, 1].sum()

    best = minimize(loss, start[free], tol=1e-12)
    np.testing.assert_allclose(found[free], best.x, atol=2e-5)
    np.testing.assert_array_equal(found[~free], start[~free])


def test_the_curvature_is_the_fisher_information_and_the_integral_follows():
    (density, within), (mean, precision) = scores(count=7), prior()
    theta, curvature, value = learn_task_weights(density, within, 2, mean, precision)

    def log_prob(at):
        own = (at[:2] + at[2:].reshape(-1, 2)).exp()
        return task_scores(density, within, at[0].exp(), own.T).log_softmax(-1)

    each = torch.autograd.functional.jacobian(log_prob, theta)
    expected = precision + torch.einsum("nt,nti,ntj->ij", log_prob(theta).exp(), each, each)
    torch.testing.assert_close(curvature, expected)
    off = theta - mean
    joint = log_prob(theta)[:, 2].sum() - 0.5 * off @ precision @ off
    log_ratio = np.linalg.slogdet(precision.numpy())[1] - np.linalg.slogdet(expected.numpy())[1]
    np.testing.assert_allclose(value, joint + 0.5 * log_ratio)


def test_without_deviations_the_weights_are_the_shared_ones():
    """Deviations of a tiny prior variance vanish, and the mode is that of two weights; numbers added to all cancel."""
    density, within = scores()
    mean, tight = torch.tensor([0.2, -0.5] + [0.0] * 6, dtype=DTYPE), torch.tensor([1.0, 2.0] + [1e9] * 6, dtype=DTYPE)
    found, _, value = learn_task_weights(density, within, 1, mean, torch.diag(tight))
    shared, _, plain = learn_weights(density, within, 1, mean[:2], torch.diag(tight[:2]))
    torch.testing.assert_close(found[:2], shared, atol=1e-5, rtol=0)
    torch.testing.assert_close(value, plain, atol=1e-4, rtol=0)
    moved = density + torch.linspace(-300, 300, len(density), dtype=DTYPE)[:, None]
    torch.testing.assert_close(learn_task_weights(moved, within, 1, mean, torch.diag(tight))[0], found)
    torch.testing.assert_close(
        task_scores(density, within, shared[0].exp(), shared.exp()[:, None].expand(2, TASKS)),
        shared[0].exp() * density + shared[1].exp() * within,
    )


@cache
def stream(scales, count, seed=0, size=8):
    """Examples set aside of each task after the first, and test examples: Gaussian classes, scaled log-densities."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(len(scales), size, dtype=DTYPE, generator=generator)

    def density(x):
        return torch.tensor(scales, dtype=DTYPE) * (0.5 * size - 0.5 * (x[:, None] - centers).square().sum(-1))

    def draw(task, num):
        return density(centers[task] + torch.randn(num, size, dtype=DTYPE, generator=generator))

    memory, seen = CombinationMemory(0.5).double(), []
    for task in range(1, len(scales)):
        seen.append(draw(task, count)[:, : task + 1])
        memory.learn(seen[-1], seen[-1], torch.zeros_like(seen[-1]), task)
    return memory, seen, torch.stack([draw(task, 1000) for task in range(len(scales))])


def test_densities_of_different_scales_get_weights_of_their_own_that_are_better_on_new_examples():
    memory, _, new = stream((1, 4, 1, 4, 1, 4), 200)
    found = memory.chosen(range(6))
    assert len(found.task_weights) == 6
    assert found.log_left_out[1] > found.log_left_out[0] + 3
    assert max(found.task_weights[1::2]) < min(found.task_weights[::2])  # over-confident ones are tempered
    none, a = torch.zeros_like(new[0]), torch.tensor(found.evidence_weight)
    shared = memory.mean[1, 0].exp()
    own = torch.tensor(found.task_weights, dtype=DTYPE).T
    gains = [
        (task_scores(new[t], none, a, own).log_softmax(-1) - (shared * new[t]).log_softmax(-1))[:, t] for t in range(6)
    ]
    assert float(torch.stack(gains).mean()) > 0.03


@pytest.mark.parametrize(("scales", "count"), [((3,) * 5, 200), ((1,) * 5, 8), ((0.3, 3), 200)])
def test_tasks_share_where_they_are_alike_few_or_where_nothing_was_left_out(scales, count):
    memory, _, _ = stream(scales, count)
    found = memory.chosen(range(len(scales)))
    assert found.task_weights == ()
    assert (found.evidence_weight, found.entropy_weight) == tuple(memory.mean[1].exp().tolist())
    if len(scales) == 2:
        assert found.log_left_out == (0.0, 0.0)


def test_what_decides_is_the_probability_of_examples_that_the_weights_have_not_seen():
    """Each task's examples, under the shared weights of the tasks before and under each task's own, step by step."""
    memory, seen, _ = stream((1, 4, 1, 4), 50)
    start = torch.tensor([0.0, np.log(0.5)], dtype=DTYPE)
    shared, mean = (start, torch.diag(torch.tensor([1.0, 100.0], dtype=DTYPE))), start
    precision, sums, squares = shared[1], np.zeros(3), np.zeros(2)
    for task, density in enumerate(seen, 1):
        within, more = torch.zeros_like(density), 2 * (task + 1) - len(mean) + 2
        mean = torch.cat([mean, torch.zeros(more, dtype=DTYPE)])
        new = torch.tensor([100.0, 10_000.0], dtype=DTYPE).repeat(more // 2)  # a tenth of the shared deviations
        precision = torch.block_diag(precision, torch.diag(new))
        plain = log_softmax(np.exp(float(shared[0][0])) * density.numpy(), axis=1)[:, task]
        own = log_probs(mean.numpy(), density.numpy(), within.numpy())[:, task]
        if task > 1:
            sums[:2] += plain.sum(), own.sum()
            squares[0] += ((own - plain) ** 2).sum()
        shared = learn_weights(density, within, task, *shared)[:2]
        mean, precision, _ = learn_task_weights(density, within, task, mean, precision)
    np.testing.assert_allclose(memory.log_left_out[1, :2], sums[:2])
    np.testing.assert_allclose(memory.squared_gains[1, 0], squares[0])
    torch.testing.assert_close(memory.task_mean[1, 0], mean)
    assert memory.task_mean.shape == (2, 2, 10)


def test_states_of_shared_weights_load_and_go_on():
    memory, seen, _ = stream((1, 4, 1, 4), 50)
    state = memory.state_dict()
    old = {name: state[name] for name in ("mean", "precision", "log_evidence", "num_examples")}
    other = CombinationMemory(0.5).double()
    other.load_state_dict(dict(old))
    assert other.chosen(range(4)) == replace(memory.chosen(), task_weights=(), log_left_out=(0.0, 0.0))
    torch.testing.assert_close(other.task_mean, memory.mean[:2, None].expand(2, 2, 2))
    other.learn(seen[-1], seen[-1], torch.zeros_like(seen[-1]), 3)
    assert other.task_mean.shape == (2, 2, 10)
    other.load_state_dict(dict(old))  # also into one that knows tasks
    torch.testing.assert_close(other.task_precision, memory.precision[:2, None].expand(2, 2, 2, 2))


def test_the_weights_of_some_tasks_are_chosen_and_strangers_share():
    memory, _, _ = stream((1, 4, 1, 4, 1, 4), 200)
    every, some = memory.chosen(range(6)), memory.chosen([4, 1, 9])
    assert some.task_weights[:2] == (every.task_weights[4], every.task_weights[1])
    assert some.task_weights[2] == (some.evidence_weight, some.entropy_weight)
    other = CombinationMemory(0.5).double()
    other.load_state_dict(memory.state_dict())
    assert other.chosen(range(6)) == every


def test_the_combined_score_weighs_the_evidence_ratio_of_each_task():
    known = with_kept(class_stream())
    tasks = len(known.predictions)
    weights = tuple((0.2 + 0.1 * t, 0.9 - 0.2 * t) for t in range(tasks))
    entropy = torch.stack([p.total for p in known.predictions], -1).numpy()
    for tied, density in ((True, known.evidence.numpy()), (False, known.log_density.numpy() / 2.0)):
        found = replace(known, combination=Combination(tied, 0.3, 0.7, task_weights=weights)).scores("combined")
        mixture = logsumexp(density, axis=1, b=1 / tasks, keepdims=True)
        a, b = np.array(weights).T
        np.testing.assert_allclose(found, 0.3 * mixture + a * (density - mixture) - b * entropy, rtol=1e-5)
    same = replace(known, combination=Combination(True, 0.3, 0.7, task_weights=((0.3, 0.7),) * tasks))
    plain = replace(known, combination=Combination(True, 0.3, 0.7))
    torch.testing.assert_close(same.scores("combined"), plain.scores("combined"))
    one = replace(known, combination=Combination(True, 0.3, 0.7, task_weights=((0.3, 0.7),) * (tasks + 1)))
    with pytest.raises(ValueError, match="combination: expected weights of"):
        one.scores("combined")
