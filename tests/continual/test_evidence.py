"""Task inference on predictions with a known answer."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.continual import CRITERIA, StreamPrediction
from bayeshnet.inference import Prediction


def prediction(probs):
    probs = torch.as_tensor(probs, dtype=torch.float64)
    mean = probs.mean(0)
    total = -(mean * mean.log()).sum(-1)
    aleatoric = -(probs * probs.log()).sum(-1).mean(0)
    spread = probs.var(0, correction=0)
    return Prediction(mean, total, aleatoric, total - aleatoric, spread, "classification", len(probs))


@pytest.fixture
def stream():
    # Two draws, three inputs: the first and third are sure under task 0, the second under task 1.
    first = prediction([[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.1, 0.9], [0.1, 0.9]]])
    second = prediction([[[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]], [[0.2, 0.8], [0.2, 0.8], [0.1, 0.9]]])
    density = torch.tensor([[0.0, -10.0], [-5.0, 0.0], [0.0, -0.1]], dtype=torch.float64)
    return StreamPrediction((first, second), density, torch.tensor(2.0), 1.5, ((0, 1), (2, 3)))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_finds_the_tasks(stream, criterion):
    assert stream.task(criterion).tolist() == [0, 1, 0]
    posterior = stream.task_posterior(criterion)
    torch.testing.assert_close(posterior.sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(posterior, stream.scores(criterion).softmax(-1))


def test_scores_are_what_their_names_say(stream):
    first, second = stream.predictions
    torch.testing.assert_close(stream.scores("entropy"), -torch.stack([first.total, second.total], -1))
    torch.testing.assert_close(stream.scores("confidence")[:, 0], first.mean.amax(-1))
    torch.testing.assert_close(stream.scores("mutual_information")[:, 1], -second.epistemic)
    deviation = torch.stack([p.spread.sqrt().mean(-1) for p in stream.predictions], -1)
    torch.testing.assert_close(stream.scores("agreement"), -deviation)
    expected = stream.log_density / 2.0 - 1.5 * torch.stack([first.total, second.total], -1)
    torch.testing.assert_close(stream.scores("combined"), expected)


def test_means_and_labels_follow_the_inferred_task(stream):
    torch.testing.assert_close(stream.mean("entropy")[1], stream.predictions[1].mean[1])
    assert stream.label("entropy").tolist() == [0, 3, 1]


def test_unknown_criterion_is_refused(stream):
    with pytest.raises(ValueError, match="criterion: expected one of 'entropy'"):
        stream.task("nonsense")
