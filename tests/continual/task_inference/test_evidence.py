"""Scores by what is kept of features, against scipy and numpy on the examples themselves; sums, saving, resuming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import (
    Combination,
    DensitySettings,
    EvidenceSettings,
    Separate,
    Split,
    StreamPrediction,
    Task,
    Training,
    load_state,
)
from bayeshnet.continual.task_inference.evidence import TaskEvidence
from bayeshnet.continual.task_inference.last_layers import LastLayers
from bayeshnet.continual.task_inference.learning import build_evidence, divide_task
from bayeshnet.features import RandomFourier
from bayeshnet.runs.results.ood import FinalPredictions, measure_abstention, predict_all
from bayeshnet.tasks import TaskStream
from tests.support.predictions import class_stream, prediction, with_kept
from tests.support.tasks import learn, make_task, same_state

DTYPE = torch.float64
SIZE, KAPPA = 5, 0.01
GENERATOR = torch.Generator().manual_seed(3)
MIXING = torch.randn(SIZE, SIZE, dtype=DTYPE, generator=GENERATOR)
TASKS = [
    (torch.randn(n, SIZE, dtype=DTYPE, generator=GENERATOR) @ MIXING + t, torch.arange(n) % 3 % (2 + t))
    for t, n in enumerate((30, 41))
]
NEW = torch.randn(7, SIZE, dtype=DTYPE, generator=GENERATOR)


def kept(tasks=TASKS, num_directions=2):
    found = TaskEvidence(torch.nn.Identity(), SIZE, num_directions).double()
    for x, y in tasks:
        found.learn(x, y, virtual_scale=1.5)
    return found


def groups():
    """Examples of each class of each task."""
    return [[x[y == c].numpy() for c in y.unique()] for x, y in TASKS]


def posterior(evidence):
    """Scale matrix and degrees of freedom of the inverse Wishart posterior, from the examples."""
    fit = evidence.head.fit()
    scatter = sum(p.T @ p - np.outer(p.sum(0), p.sum(0)) / (len(p) + KAPPA) for own in groups() for p in own)
    psi = float(fit.scatter.min()) - np.linalg.eigvalsh(scatter).min()
    return scatter + psi * np.eye(SIZE), fit.degrees


def test_evidence_is_the_mixture_of_student_densities_of_the_classes():
    evidence = kept()
    scale, degrees = posterior(evidence)
    free = degrees - SIZE + 1
    expected = []
    for own in groups():
        parts = []
        for p in own:
            shape = scale * (1 + 1 / (len(p) + KAPPA)) / free
            density = multivariate_t(p.sum(0) / (len(p) + KAPPA), shape, df=free)
            parts.append(density.logpdf(NEW.numpy()) + np.log(len(p) / sum(map(len, own))))
        expected.append(logsumexp(parts, axis=0))
    np.testing.assert_allclose(evidence.scores(NEW, [0, 1]).log_density, np.stack(expected, 1), rtol=1e-8)
    swapped = evidence.scores(NEW, [1, 0]).log_density
    torch.testing.assert_close(swapped, evidence.scores(NEW, [0, 1]).log_density.flip(1))


def test_distances_are_those_from_the_nearest_class_under_one_covariance():
    evidence = kept()
    scale, degrees = posterior(evidence)
    precision = degrees * np.linalg.inv(scale)
    expected = []
    for own in groups():
        off = [NEW.numpy() - p.sum(0) / (len(p) + KAPPA) for p in own]
        expected.append(np.min([np.einsum("ni,ij,nj->n", o, precision, o) for o in off], axis=0))
    np.testing.assert_allclose(evidence.scores(NEW, [0, 1]).distance, np.stack(expected, 1), rtol=1e-8)


def test_with_many_examples_distances_are_those_of_the_pooled_covariance():
    x = torch.randn(4000, SIZE, dtype=DTYPE, generator=GENERATOR) @ MIXING
    y = torch.arange(4000) % 2
    x[y == 1] += 2
    evidence = kept([(x, y)])
    means = torch.stack([x[y == c].mean(0) for c in (0, 1)])
    off = x - means[y]
    inverse = torch.linalg.inv(off.T @ off / len(x))
    far = torch.stack([((NEW - m) @ inverse * (NEW - m)).sum(1) for m in means], 1).amin(1)
    torch.testing.assert_close(evidence.scores(NEW, [0]).distance[:, 0], far, rtol=0.02, atol=0.02)


def test_virtual_logits_are_residuals_of_principal_components():
    evidence = kept()
    expected = []
    for x, _ in TASKS:
        mean = x.numpy().mean(0)
        basis = np.linalg.svd(x.numpy() - mean)[2][2:]
        norms = [np.linalg.norm((points.numpy() - mean) @ basis.T, axis=1) for points in (NEW, x)]
        expected.append(1.5 * norms[0] / norms[1].mean())
    np.testing.assert_allclose(evidence.scores(NEW, [0, 1]).virtual_logit, np.stack(expected, 1), rtol=1e-8)


@pytest.mark.parametrize("num_directions", [2, 6])
def test_variances_are_those_of_the_weights_of_a_last_layer(num_directions):
    """With the kept eigenvalues alone in the Gram matrix, and the prior in all directions."""
    layers, expected = LastLayers(torch.nn.Identity(), SIZE, num_directions, prior_share=0.2).double(), []
    new = np.column_stack([NEW.numpy(), np.ones(7)])
    for x, _ in TASKS:
        layers.learn(x)
        wide = np.column_stack([x.numpy(), np.ones(len(x))])
        precision = 0.2 * np.trace(wide.T @ wide) / (SIZE + 1)
        left, sizes, right = np.linalg.svd(wide, full_matrices=False)
        kept = (left[:, :num_directions] * sizes[:num_directions]) @ right[:num_directions]
        covariance = np.linalg.inv(precision * np.eye(SIZE + 1) + kept.T @ kept)
        expected.append(np.einsum("ni,ij,nj->n", new, covariance, new))
    np.testing.assert_allclose(layers.variances(NEW, [0, 1]), np.stack(expected, 1), rtol=1e-8)
    other = LastLayers(torch.nn.Identity(), SIZE, num_directions, prior_share=0.2).double()
    other.resize_like(layers.state_dict())
    other.load_state_dict(layers.state_dict())
    assert torch.equal(other.variances(NEW, [1]), layers.variances(NEW, [1]))


def test_criteria_of_sizes_are_their_formulas():
    stream = with_kept(class_stream())
    logits = np.stack([p.logits.numpy() for p in stream.predictions], 1)
    np.testing.assert_allclose(stream.scores("max_logit"), logits.max(-1))
    np.testing.assert_allclose(stream.scores("energy"), logsumexp(logits, axis=-1))
    np.testing.assert_allclose(stream.scores("vim"), logsumexp(logits, axis=-1) - stream.virtual_logit.numpy())
    assert torch.equal(stream.scores("evidence"), stream.evidence)
    assert torch.equal(stream.scores("mahalanobis"), -stream.mahalanobis)
    assert torch.equal(stream.scores("logit_variance"), -stream.logit_variance)
    with pytest.raises(ValueError, match=r"criterion: expected one that these predictions have, got 'energy'"):
        class_stream().scores("energy")


def test_sums_do_not_depend_on_the_order_of_examples():
    """The sums of one task hold those of the other, too; classes of one task follow those of the other."""
    order = torch.randperm(30, generator=GENERATOR)
    shuffled = kept([(TASKS[0][0][order], TASKS[0][1][order]), TASKS[1]])
    torch.testing.assert_close(shuffled.head.gram, kept().head.gram, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shuffled.scores(NEW, [0, 1]).log_density, kept().scores(NEW, [0, 1]).log_density)


def test_examples_that_are_taken_out_were_never_there():
    x, y = TASKS[1]
    whole, rest = kept(), kept([TASKS[0], (x[:30], y[:30])])
    without = whole.without(x[30:], y[30:], 1)
    torch.testing.assert_close(without.scores(NEW, [0, 1]).log_density, rest.scores(NEW, [0, 1]).log_density)
    torch.testing.assert_close(whole.head.gram, kept().head.gram, rtol=0, atol=0)


def make(**settings):
    evidence = EvidenceSettings(**settings)
    training = Training(steps=2)
    return Separate(MLPNetwork((3,)), MeanFieldWeights(), training=training, num_samples=3, evidence=evidence)


@pytest.mark.parametrize("features", [None, RandomFourier(12)])
def test_what_is_kept_is_saved_loaded_and_learned_on(features, tmp_path):
    learner = make(features=features)
    state = learn(learner, [make_task(0), make_task(1)])
    state.save(tmp_path)
    again = load_state(tmp_path)
    x = make_task(2).test.x
    first, second = (owner.predict(s, x) for owner, s in ((learner, state), (again.learner, again)))
    assert first.combination == second.combination
    for name in ("evidence", "mahalanobis", "logit_variance", "max_logit", "energy", "vim", "combined"):
        assert torch.equal(first.scores(name), second.scores(name))
    longer = [learner.learn(s, make_task(2), seed=5) for s in (state, again)]
    assert same_state(*longer)
    assert state.evidence.num_tasks == 2
    assert longer[0].evidence.num_tasks == 3


def test_weights_of_each_task_are_saved_and_weigh_predictions(tmp_path):
    """Weights that were found better are those of the tasks asked for, also after loading, and of one task alone."""
    learner, tasks = make(set_aside=8), [make_task(t) for t in range(3)]
    state = learn(learner, tasks)
    weights = state.evidence.weights
    assert weights.chosen(range(3)).task_weights == ()
    weights.log_left_out[:, 2] = weights.log_left_out[:, 0] + 1e6
    weights.task_mean[:, 1, 2:] = torch.linspace(-1, 1, 6)
    state.save(tmp_path)
    again = load_state(tmp_path)
    x = tasks[2].test.x
    first, second = learner.predict(state, x), again.learner.predict(again, x)
    assert len(set(first.combination.task_weights)) == 3
    assert torch.equal(first.scores("combined"), second.scores("combined"))
    every = first.combination.task_weights
    assert learner.predict_each(state, x, [2, 0]).combination.task_weights == (every[2], every[0])
    stream = TaskStream(tuple(tasks), outliers={"far": torch.full((6, 4), 9.0)})
    known = predict_all(learner, state, stream, 0)
    assert [p.combination.task_weights for p in known.calibration] == [(pair,) for pair in every]
    alone = learner.predict_each(state, x, [1])
    density = alone.scores("evidence" if first.combination.tied else "density")[:, 0]
    expected = first.combination.evidence_weight * density - every[1][1] * alone.predictions[0].total
    torch.testing.assert_close(alone.scores("combined")[:, 0], expected)
    assert measure_abstention(known, 0.05).scores["combined"].refused["far"] == 100
    assert learner.learn(state, make_task(3), seed=5).evidence.weights.task_mean.shape == (2, 2, 10)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_weights_of_each_task_do_not_move_the_rate_of_false_alarms(weight):
    """Thresholds come of predictions under one task, where a ratio of evidence is always that of a single task."""
    generator, count, num = torch.Generator().manual_seed(0), 5, 4000
    combined = Combination(False, 1.0, 0.0, task_weights=((weight, 0.0),) * count)

    def predicted(densities, chosen):
        flat = torch.full((1, len(densities), 2), 0.5)
        means = tuple(prediction(flat) for _ in range(densities.shape[1]))
        return StreamPrediction(means, densities, torch.tensor(1.0), 1.0, combination=chosen)

    def draw():
        task = torch.arange(num) % count
        densities = torch.randn(num, count, generator=generator, dtype=DTYPE) - 15
        densities[torch.arange(num), task] += 15
        return task, densities

    (task, densities), (number, known) = draw(), draw()
    alone = replace(combined, task_weights=combined.task_weights[:1])
    calibration = tuple(predicted(densities[task == t][:, t : t + 1], alone) for t in range(count))
    foreign = predicted(torch.full((50, count), -20.0, dtype=DTYPE), combined)
    found = FinalPredictions(predicted(known, combined), number, number, {"far": foreign}, calibration, "validation")
    rates = measure_abstention(found, 0.05).scores["combined"]
    assert rates.false_alarm == pytest.approx(5, abs=1.2)
    assert rates.refused["far"] == 100


def test_nothing_is_kept_where_it_is_not_asked_for(tmp_path):
    learner = make(most_features=3)
    state = learn(learner, [make_task(0)])
    assert state.evidence is None
    prediction = learner.predict(state, make_task(0).test.x)
    assert {"evidence", "mahalanobis", "vim"}.isdisjoint(prediction.criteria)
    assert {"combined", "energy"} <= set(prediction.criteria)
    torch.testing.assert_close(prediction.scores("combined"), prediction.scores("combined_fixed"))


def test_states_without_evidence_are_loaded():
    """States saved before evidence was kept lack its tensors: density and entropy are combined as before."""
    learner = make()
    state = learn(learner, [make_task(0), make_task(1)])
    old = {name: value for name, value in state.state_dict().items() if not name.startswith("evidence.")}
    again = learner.restore(make_task(0), 2)
    again.load_state_dict(old)
    prediction = learner.predict(again, make_task(0).test.x)
    assert prediction.evidence is None
    torch.testing.assert_close(prediction.scores("combined"), prediction.scores("combined_fixed"))
    assert learner.learn(again, make_task(2)).num_tasks == 3


def correlated(number, *, own, size=400):
    """Two classes in eight correlated dimensions; tasks differ in their means, or in their covariance alone."""
    generator = torch.Generator().manual_seed(50)
    mixing, means = torch.randn(8, 8, generator=generator), torch.randn(3, 8, generator=generator)
    generator = torch.Generator().manual_seed(number)
    turned = mixing @ torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q if own else mixing
    x, y = torch.randn(size, 8, generator=generator), torch.arange(size) % 2
    x[:, 0] += 2 * y
    x = x @ turned + (0 if own else 0.3) * means[number]
    return Task(f"{number}", Split(x, y), Split(x, y), 2, labels=(2 * number, 2 * number + 1))


@pytest.mark.parametrize("own", [False, True])
def test_evidence_chooses_the_densities(own):
    """Tasks that differ in their means share a covariance; tasks that are turned differ in it alone."""
    tasks = [correlated(t, own=own) for t in range(3)]
    learner = make(set_aside=80)
    learner.density = DensitySettings(num_parts=2, num_components=3)
    state = learn(learner, tasks)
    prediction = learner.predict(state, tasks[0].test.x)
    tied, per_task = prediction.combination.log_evidence
    assert prediction.combination.tied == (tied > per_task) == (not own)
    assert abs(tied - per_task) > 10


def test_examples_that_are_set_aside_are_not_trained_on():
    task = correlated(0, own=False, size=600)
    settings, density = EvidenceSettings(set_aside=100), DensitySettings()
    evidence = build_evidence(settings, task, density, 0.5)
    divided = divide_task(settings, evidence, task, 0, density, 7)
    assert (len(divided.train), len(divided.aside), divided.hidden) == (500, 100, True)
    rows = {tuple(row) for row in divided.train.x.tolist()} | {tuple(row) for row in divided.aside.x.tolist()}
    assert len(rows) == 600
    few = divide_task(settings, evidence, replace(task, train=task.train.select(slice(0, 300))), 0, density, 7)
    assert (len(few.train), len(few.known), len(few.aside), few.hidden) == (300, 240, 60, False)
    none = divide_task(EvidenceSettings(set_aside=0), evidence, task, 0, density, 7)
    assert none.aside is None
    assert none.train is task.train
