"""The two weights of the combined score: mode, curvature and evidence against optimization and quadrature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from bayeshnet.continual import Combination
from bayeshnet.continual.task_inference.combination import CombinationMemory
from bayeshnet.continual.task_inference.weighing import learn_weights
from tests.support.predictions import class_stream, with_kept

DTYPE = torch.float64
MEAN, PRECISION = torch.tensor([0.0, -0.7], dtype=DTYPE), torch.tensor([[1.3, 0.2], [0.2, 0.8]], dtype=DTYPE)


def scores(count=60, tasks=3, own=1, seed=0):
    """Scores of examples of task ``own``, whose evidence is larger there by two, times three: over-confident."""
    generator = torch.Generator().manual_seed(seed)
    density = 3 * torch.randn(count, tasks, dtype=DTYPE, generator=generator)
    density[:, own] += 4
    within = -torch.rand(count, tasks, dtype=DTYPE, generator=generator)
    within[:, own] *= 0.5
    return density, within


def log_joint(theta, density, within, own=1, entropy=True):
    """Log-likelihood plus log-density of the prior, by numpy."""
    theta = np.array([theta[0], theta[1] if entropy else MEAN[1].item()])
    values = np.exp(theta[0]) * density.numpy() + np.exp(theta[1]) * within.numpy()
    off, p = theta - MEAN.numpy(), PRECISION.numpy()
    return log_softmax(values, axis=1)[:, own].sum() - 0.5 * off @ p @ off


@pytest.mark.parametrize("entropy", [True, False])
def test_the_mode_is_that_of_an_optimizer(entropy):
    density, within = scores()
    found, _, _ = learn_weights(density, within, 1, MEAN, PRECISION, weigh_entropy=entropy)
    best = minimize(lambda t: -log_joint(t, density, within, entropy=entropy), MEAN.numpy(), tol=1e-12)
    np.testing.assert_allclose(found[0], best.x[0], atol=1e-5)
    np.testing.assert_allclose(found[1], best.x[1] if entropy else MEAN[1], atol=1e-5)


def test_the_curvature_is_the_covariance_of_the_scores():
    density, within = scores(count=5)
    found, precision, _ = learn_weights(density, within, 1, MEAN, PRECISION)
    expected = PRECISION.numpy().copy()
    for e, w in zip(density.numpy(), within.numpy(), strict=True):
        parts = found.exp().numpy()[:, None] * np.stack([e, w])
        expected += np.cov(parts, aweights=np.exp(log_softmax(parts.sum(0))), bias=True)
    np.testing.assert_allclose(precision, expected, rtol=1e-6)


def test_the_evidence_is_close_to_the_integral():
    density, within = scores(count=400)
    _, _, found = learn_weights(density, within, 1, MEAN, PRECISION)
    grid = [np.linspace(-1.6, -0.4, 41), np.linspace(-5, 4, 31)]
    values = np.array([[log_joint((s, t), density, within) for t in grid[1]] for s in grid[0]])
    area = (grid[0][1] - grid[0][0]) * (grid[1][1] - grid[1][0])
    norm = 0.5 * np.linalg.slogdet(PRECISION.numpy())[1] - np.log(2 * np.pi)
    integral = np.log(np.exp(values - values.max()).sum() * area) + values.max() + norm
    assert abs(float(found) - integral) < 0.15


def test_tasks_one_after_the_other_sharpen_the_weights_and_choose_the_densities():
    """Densities that tell the tasks with less doubt than chance are chosen over those that do not."""
    memory = CombinationMemory(0.5).double()
    assert memory.chosen() == Combination(False, 1.0, 0.5)
    for task in (1, 2):
        tied, within = scores(200, task + 1, task, seed=task)
        own = torch.randn(tied.shape, dtype=DTYPE, generator=torch.Generator().manual_seed(9))
        memory.learn(tied, own, -within, task)
    found = memory.chosen()
    assert found.tied
    assert found.log_evidence[0] > found.log_evidence[1] + 50
    assert 0.1 < found.evidence_weight < 0.6  # over-confident densities are tempered
    assert int(memory.num_examples) == 400
    assert float(memory.precision[0, 0, 0]) > 50
    other = CombinationMemory(0.5).double()
    other.load_state_dict(memory.state_dict())
    assert other.chosen() == found


def test_uncertainty_has_weights_of_its_own():
    memory, other = CombinationMemory(0.5).double(), CombinationMemory(0.5).double()
    density, within = scores()
    memory.learn(density, density, -within, 1, variance=(-density).exp())
    other.learn(density, density, -within, 1)
    prior = torch.tensor([0.0, np.log(0.5)], dtype=DTYPE)
    found, (weights, _, _) = memory.chosen(), learn_weights(density, within, 1, prior, torch.eye(2, dtype=DTYPE))
    assert found.uncertainty == pytest.approx(weights.exp().tolist())
    narrow = torch.diag(torch.tensor([1.0, 100.0], dtype=DTYPE))
    weights, _, evidence = learn_weights(density, within, 1, prior, narrow)
    assert (found.evidence_weight, found.entropy_weight) == pytest.approx(weights.exp().tolist())
    assert found.log_evidence == pytest.approx((float(evidence), float(evidence)))
    assert other.chosen().uncertainty == pytest.approx((1.0, 0.5))
    stream = replace(with_kept(class_stream()), combination=Combination(True, 0.3, 0.7, uncertainty=(0.2, 3.0)))
    entropy = torch.stack([p.total for p in stream.predictions], -1)
    torch.testing.assert_close(stream.scores("uncertainty"), -0.2 * stream.logit_variance.log() - 3.0 * entropy)
    alone = replace(stream, combination=None)
    torch.testing.assert_close(alone.scores("uncertainty"), -stream.logit_variance.log() - 1.5 * entropy)


def test_a_weight_of_zero_leaves_the_entropy_out():
    memory = CombinationMemory(0.0)
    density, within = scores()
    memory.learn(density, density, -within, 1)
    assert memory.chosen().entropy_weight == 0.0
    assert memory.chosen().uncertainty[1] == 0.0


def test_the_combined_score_is_the_weighted_sum():
    stream = with_kept(class_stream())
    entropy = torch.stack([p.total for p in stream.predictions], -1)
    tied = replace(stream, combination=Combination(True, 0.3, 0.7))
    torch.testing.assert_close(tied.scores("combined"), 0.3 * stream.evidence - 0.7 * entropy)
    own = replace(stream, combination=Combination(False, 0.3, 0.7))
    torch.testing.assert_close(own.scores("combined"), 0.3 * stream.log_density / 2.0 - 0.7 * entropy)
    fixed = stream.log_density / 2.0 - 1.5 * entropy
    for prediction in (stream, tied):
        torch.testing.assert_close(prediction.scores("combined_fixed"), fixed)
    torch.testing.assert_close(stream.scores("combined"), fixed)
