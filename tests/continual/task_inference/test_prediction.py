"""Task inference on predictions with a known answer."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.continual import CRITERIA, Criterion, StreamPrediction
from tests.support.predictions import class_stream, value_stream, values


@pytest.fixture
def stream():
    return class_stream()


@pytest.fixture
def regression():
    return value_stream()


def test_scores_are_what_their_names_say(stream):
    first, second = stream.predictions
    torch.testing.assert_close(stream.scores("entropy"), -torch.stack([first.total, second.total], -1))
    torch.testing.assert_close(stream.scores("confidence")[:, 0], first.mean.amax(-1))
    torch.testing.assert_close(stream.scores("mutual_information")[:, 1], -second.epistemic)
    deviation = torch.stack([p.spread.sqrt().mean(-1) for p in stream.predictions], -1)
    torch.testing.assert_close(stream.scores("agreement"), -deviation)
    expected = stream.log_density / 2.0 - 1.5 * torch.stack([first.total, second.total], -1)
    torch.testing.assert_close(stream.scores("combined"), expected)


def test_superposition_is_the_gradient_of_the_entropy_of_the_mixture(stream):
    means = torch.stack([p.mean for p in stream.predictions])
    share = torch.full((2, 3), 0.5, dtype=torch.float64, requires_grad=True)
    mixture = (share.unsqueeze(-1) * means).sum(0)
    (gradient,) = torch.autograd.grad(-(mixture * mixture.log()).sum(), share)
    torch.testing.assert_close(stream.scores("superposition"), -gradient.T)


def test_superposition_of_values_is_the_gradient_of_the_entropy_of_gaussians(regression):
    share = torch.full((2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    y = torch.linspace(-8, 10, 40001, dtype=torch.float64)
    mean = torch.stack([p.mean[:, 0] for p in regression.predictions])
    std = torch.stack([p.total.sqrt() for p in regression.predictions])
    density = (share * torch.distributions.Normal(mean, std).log_prob(y[:, None, None]).exp()).sum(1)
    entropy = torch.trapezoid(-torch.xlogy(density, density), y, dim=0).sum()
    (gradient,) = torch.autograd.grad(entropy, share)
    torch.testing.assert_close(regression.scores("superposition"), -gradient.T, rtol=0, atol=1e-4)


def test_predictive_density_is_the_negative_entropy_of_the_gaussian():
    p = values([[0.0, 1.0]], [[0.2, 0.7]], noise=0.3)
    stream = StreamPrediction((p,), torch.zeros(1, 1), torch.tensor(1.0))
    std = torch.tensor([0.5, 1.0], dtype=torch.float64).sqrt()
    expected = -torch.distributions.Normal(0.0, std).entropy().sum()
    torch.testing.assert_close(stream.scores("predictive_density"), expected.reshape(1, 1))
    y = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    torch.testing.assert_close(
        stream.target_log_prob(y)[0, 0], torch.distributions.Normal(p.mean[0], std).log_prob(y[0]).sum()
    )


def test_inputs_of_one_task_are_inferred_from_the_product_of_their_posteriors(stream):
    product = stream.task_posterior("combined").log().sum(0).exp()
    torch.testing.assert_close(stream.batch_posterior(), product / product.sum())
    assert stream.batch_task("entropy") == 0  # two of three
    assert stream.batch_task().shape == ()


def test_labeled_examples_tell_their_task(stream):
    y = torch.tensor([0, 0, 1])
    expected = torch.stack([p.mean[torch.arange(3), y] for p in stream.predictions], -1).log()
    torch.testing.assert_close(stream.target_log_prob(y), expected)
    assert stream.target_log_prob(y).sum(0).argmax() == 0


def test_means_and_labels_follow_the_inferred_task(stream):
    torch.testing.assert_close(stream.mean("entropy")[1], stream.predictions[1].mean[1])
    assert stream.label("entropy").tolist() == [0, 3, 1]


def test_probabilities_of_labels_are_those_of_tasks_and_classes(stream):
    probs, posterior = stream.label_probs(), stream.task_posterior()
    torch.testing.assert_close(probs[:, 2:], posterior[:, 1:] * stream.predictions[1].mean)
    shared = StreamPrediction(stream.predictions, stream.log_density, stream.temperature, 1.5, ((0, 1), (0, 1)))
    expected = sum(posterior[:, t : t + 1] * p.mean for t, p in enumerate(stream.predictions))
    torch.testing.assert_close(shared.label_probs(), expected)


@pytest.mark.parametrize("labels", [((-1, 1), (7, 3)), ((2119789, 12768682), (5, 2119789)), ((4, 4), (4, 4))])
def test_labels_are_names_not_positions(stream, labels):
    """Each label that exists has one column, whatever its number; a loop over tasks and classes adds up its parts."""
    named = StreamPrediction(stream.predictions, stream.log_density, stream.temperature, 1.5, labels)
    names, posterior = named.all_labels.tolist(), named.task_posterior()
    assert names == sorted({label for task in labels for label in task})
    expected = torch.zeros(3, len(names), dtype=torch.float64)
    for t, p in enumerate(stream.predictions):
        for c in range(2):
            expected[:, names.index(labels[t][c])] += posterior[:, t] * p.mean[:, c]
    torch.testing.assert_close(named.label_probs(), expected)
    torch.testing.assert_close(named.label_probs().sum(1), torch.ones(3, dtype=torch.float64))
    assert set(named.label().tolist()) <= set(names)


def test_a_new_criterion_is_a_line(stream, monkeypatch):
    monkeypatch.setitem(CRITERIA, "mean", Criterion(lambda s: s.predictions[0].mean))
    assert stream.task("mean").shape == (3,)
    assert "mean" in stream.criteria


def test_criteria_are_those_for_which_there_is_something(stream, regression):
    assert {"predictive_density", "softmax"}.isdisjoint(stream.criteria)
    assert "predictive_density" in regression.criteria
    with pytest.raises(ValueError, match="joint head"):
        stream.task("softmax")
    joint = torch.tensor([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64)
    one = StreamPrediction(stream.predictions, stream.log_density, stream.temperature, 1.5, stream.labels, joint.log())
    assert "softmax" in one.criteria
    torch.testing.assert_close(one.task_posterior("softmax"), joint)
    torch.testing.assert_close(one.label_probs("softmax").sum(1), torch.ones(3, dtype=torch.float64))


def test_unknown_criterion_is_refused(stream):
    with pytest.raises(ValueError, match="criterion: expected one of 'entropy'"):
        stream.task("nonsense")
