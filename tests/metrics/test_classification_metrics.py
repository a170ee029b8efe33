from __future__ import annotations

import builtins
import math

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from bayeshnet.errors import MissingExtraError
from bayeshnet.metrics import accuracy, auroc, brier, ece, nll, reliability_bins


@pytest.fixture(params=[2, 5])
def predictions(request):
    generator = torch.Generator().manual_seed(request.param)
    logits = 2 * torch.randn(300, request.param, generator=generator, dtype=torch.float64)
    y = torch.distributions.Categorical(logits=logits / 2).sample()
    return logits.softmax(-1), y


def test_accuracy_against_torchmetrics_and_scikit_learn(predictions):
    probs, y = predictions
    value = accuracy(probs, y)
    assert float(value) == pytest.approx(accuracy_score(y, probs.argmax(1)))
    assert float(value) == pytest.approx(float(multiclass_accuracy(probs, y, probs.shape[1], average="micro")))


def test_nll_against_scikit_learn(predictions):
    probs, y = predictions
    assert float(nll(probs, y)) == pytest.approx(log_loss(y, probs.numpy(), labels=range(probs.shape[1])))
    certain = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert float(nll(certain, torch.tensor([1]), 1e-5)) == pytest.approx(11.512925)


def test_gradient_of_nll_is_that_of_cross_entropy(predictions):
    logits = predictions[0].log().requires_grad_()
    nll(logits.softmax(-1), predictions[1]).backward()
    other = predictions[0].log().requires_grad_()
    torch.nn.functional.cross_entropy(other, predictions[1]).backward()
    assert torch.allclose(logits.grad, other.grad)


def test_brier_against_its_definition_and_scikit_learn(predictions):
    from sklearn.metrics import brier_score_loss

    probs, y = predictions
    by_hand = sum(
        (float(probs[i, c]) - float(y[i] == c)) ** 2 for i in range(len(y)) for c in range(probs.shape[1])
    ) / len(y)
    assert float(brier(probs, y)) == pytest.approx(by_hand)
    if probs.shape[1] == 2:  # scikit-learn's binary score counts one of the two equal terms
        assert float(brier(probs, y)) == pytest.approx(2 * brier_score_loss(y, probs[:, 1]))


def loop_ece(probs, y, num_bins):
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        rows = [
            i for i, c in enumerate(probs.max(1).values.tolist()) if low <= c < high or (b == num_bins - 1 and c == 1)
        ]
        if rows:
            right = sum(int(probs[i].argmax() == y[i]) for i in rows) / len(rows)
            sure = sum(float(probs[i].max()) for i in rows) / len(rows)
            total += len(rows) / len(y) * abs(right - sure)
    return total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_ece_against_a_loop_torchmetrics_and_the_reliability_bins(predictions, num_bins):
    probs, y = predictions
    value = float(ece(probs, y, num_bins))
    other = float(multiclass_calibration_error(probs, y, probs.shape[1], n_bins=num_bins))
    assert value == pytest.approx(loop_ece(probs, y, num_bins), rel=1e-5)  # torchmetrics counts in single precision
    assert value == pytest.approx(other, rel=1e-5)
    bins = reliability_bins(probs, y, num_bins)
    weighted = (bins.counts * (bins.accuracy - bins.confidence).abs()).sum() / len(y)
    assert value == pytest.approx(float(weighted), rel=1e-5)
    assert int(bins.counts.sum()) == len(y)


def test_certain_predictions_share_the_last_bin():
    probs = torch.tensor([[1.0, 0.0], [0.99, 0.01], [1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([0, 1, 1])
    assert float(ece(probs, y)) == pytest.approx(loop_ece(probs, y, 15))
    assert reliability_bins(probs, y).counts.tolist() == [0] * 14 + [3]


def test_bad_input_is_named():
    probs = torch.full((3, 2), 0.5)
    with pytest.raises(ValueError, match="y: expected"):
        accuracy(probs, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(TypeError, match="class indices"):
        nll(probs, torch.zeros(3))
    with pytest.raises(TypeError, match="probs"):
        brier(probs.long(), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least one"):
        ece(probs[:0], torch.zeros(0, dtype=torch.int64))


def test_without_torchmetrics_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("torchmetrics"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[app\]"):
        ece(torch.full((3, 2), 0.5), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(MissingExtraError, match=r"bayeshnet\[app\]"):
        auroc(torch.rand(3), torch.rand(3))


@pytest.mark.parametrize("metric", [nll, brier, ece, reliability_bins])
def test_logits_are_not_scored_as_probabilities(metric, predictions):
    probs, y = predictions
    with pytest.raises(ValueError, match=r"probs: .*softmax"):
        metric(probs.log(), y)
    with pytest.raises(ValueError, match=r"probs: .*softmax"):
        metric(probs.log_softmax(-1) - 3, y)
    with pytest.raises(ValueError, match=r"probs: .*torch.cat\(\[1 - p, p\]"):
        metric(probs[:, 1:2], y)


def test_the_order_of_logits_is_that_of_probabilities(predictions):
    probs, y = predictions
    assert accuracy(probs.log(), y) == accuracy(probs, y)
    with pytest.raises(ValueError, match=r"y: .*from 0 to 0"):
        accuracy(probs[:, 1:2].logit(), y)


def test_rounding_of_probabilities_is_clamped():
    probs = torch.tensor([[1.0005, -0.0005], [0.3, 0.7]])
    y = torch.tensor([0, 1])
    right = probs.double().clamp(0, 1)
    for metric in (nll, brier, ece):
        assert float(metric(probs, y)) == pytest.approx(float(metric(right, y)), abs=1e-6)
    assert float(nll(probs, y)) == pytest.approx(-math.log(0.7) / 2)


@pytest.mark.parametrize("label", [-100, -1, 5])
def test_labels_are_columns(label):
    probs, y = torch.full((3, 5), 0.2), torch.tensor([0, 1, label])
    for metric in (accuracy, nll, brier, ece, reliability_bins):
        with pytest.raises(ValueError, match=rf"y: expected class indices from 0 to 4.*{label}"):
            metric(probs, y)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16, torch.bool])
def test_labels_of_any_integer_type(dtype):
    probs = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    y = torch.tensor([0, 1, 1])
    for metric in (accuracy, nll, brier, ece):
        assert torch.equal(metric(probs, y.to(dtype)), metric(probs, y))


def test_half_precision_is_summed_in_single():
    y = torch.arange(20_000) % 3
    probs = torch.full((20_000, 3), 0.25)
    probs[:, 0] = 0.5
    for metric in (accuracy, nll, brier, ece):
        assert float(metric(probs.half(), y)) == pytest.approx(float(metric(probs.double(), y)), rel=1e-5)


@pytest.mark.parametrize("places", [(4,), (2, 3)])
def test_places_are_examples(places):
    """Probabilities as of segmentation are scored pixel by pixel."""
    probs, y = torch.randn(5, 3, *places, dtype=torch.float64).softmax(1), torch.randint(3, (5, *places))
    rows = probs.reshape(5, 3, -1).transpose(1, 2).reshape(-1, 3)
    for metric in (accuracy, nll, brier, ece):
        torch.testing.assert_close(metric(probs, y), metric(rows, y.flatten()))
    with pytest.raises(ValueError, match="probs: expected"):
        accuracy(probs, y[:, :1])


def test_one_column_of_yes_is_no_column_per_class():
    p, y = torch.tensor([[0.9], [0.2], [0.6]]), torch.tensor([1, 0, 0])
    advice = r".*cat\(\[1 - p, p\], -1\)"
    for labels, what in ((y, "y: expected class indices from 0 to 0"), (y * 0, "probs: expected a column for each")):
        with pytest.raises(ValueError, match=what + advice):
            accuracy(p, labels)
    torch.testing.assert_close(accuracy(torch.cat([1 - p, p], -1), y), torch.tensor(2 / 3))
    assert float(accuracy(torch.ones(3, 1), y * 0)) == 1.0
