"""Answers of yes or no are not one of C: labels, confidences and criteria follow the kind of the likelihood."""

import pytest
import torch
from torch import nn

from bayeshnet.continual import StreamPrediction
from bayeshnet.distributions import FanInGaussian
from bayeshnet.guides import BayesianModel, Bernoulli, Categorical, MeanFieldGuide
from bayeshnet.inference import Predictive, fit
from bayeshnet.inference.reference import DrawnPosterior
from bayeshnet.metrics import accuracy, nll
from bayeshnet.weights import WeightSpec


def predict(logits, likelihood):
    """Predict with one weight vector, a bias that is added to inputs that are the logits."""
    net = nn.Linear(logits.shape[1], logits.shape[1]).to(logits)
    spec = WeightSpec.of(net)
    w = torch.cat([torch.eye(logits.shape[1]).flatten(), torch.zeros(logits.shape[1])]).to(logits)
    return Predictive(DrawnPosterior(w.unsqueeze(0), spec), net, likelihood, 1)(logits)


def test_one_answer():
    p = torch.tensor([0.9, 0.2, 0.51, 0.5], dtype=torch.float64)
    found = predict(p.logit().unsqueeze(1), Bernoulli())
    assert found.label.tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(found.confidence, torch.tensor([0.9, 0.8, 0.51, 0.5], dtype=torch.float64))
    torch.testing.assert_close(found.certainty, found.confidence)
    torch.testing.assert_close(found.probs, torch.stack([1 - p, p], 1))


def test_several_answers():
    p = torch.tensor([[0.9, 0.2], [0.3, 0.4]], dtype=torch.float64)
    found = predict(p.logit(), Bernoulli())
    assert found.label.tolist() == [[1, 0], [0, 0]]
    torch.testing.assert_close(found.confidence, torch.tensor([[0.9, 0.8], [0.7, 0.6]], dtype=torch.float64))
    torch.testing.assert_close(found.certainty, torch.tensor([0.72, 0.42], dtype=torch.float64))
    with pytest.raises(ValueError, match="probs: expected classes, or one answer"):
        _ = found.probs


def test_one_answer_is_that_of_two_classes():
    """A logit of yes or no and the pair of logits (0, f) are the same model: all of the record agrees."""
    torch.manual_seed(0)
    f = torch.randn(20, 1, dtype=torch.float64)
    one, two = predict(f, Bernoulli()), predict(torch.cat([0 * f, f], 1), Categorical())
    for name in ("label", "confidence", "certainty", "probs", "total", "aleatoric", "epistemic"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name))
    y = (torch.rand(20) < 0.5).long()
    assert accuracy(one.probs, y) == accuracy(two.probs, y)
    torch.testing.assert_close(nll(one.probs, y), nll(two.probs, y))


def stream(predictions):
    density = torch.zeros(len(predictions[0].mean), len(predictions), dtype=torch.float64)
    return StreamPrediction(tuple(predictions), density, torch.ones(()).double())


def test_criteria_agree_with_those_of_two_classes():
    torch.manual_seed(0)
    f = torch.randn(2, 20, 1, dtype=torch.float64)
    one = stream([predict(each, Bernoulli()) for each in f])
    two = stream([predict(torch.cat([0 * each, each], 1), Categorical()) for each in f])
    for criterion in ("confidence", "entropy", "superposition", "mutual_information"):
        torch.testing.assert_close(one.scores(criterion), two.scores(criterion))
    y = torch.randint(2, (20, 1)).double()
    expected = torch.stack([torch.where(y[:, 0] == 1, p.probs[:, 1], p.probs[:, 0]) for p in two.predictions], -1)
    torch.testing.assert_close(one.target_log_prob(y), expected.log())


def test_the_log_probability_of_several_answers_is_summed():
    p = torch.tensor([[0.9, 0.2]], dtype=torch.float64)
    found = stream([predict(p.logit(), Bernoulli())]).target_log_prob(torch.tensor([[1.0, 1.0]]).double())
    torch.testing.assert_close(found, torch.tensor([[0.9 * 0.2]], dtype=torch.float64).log())


def test_a_perfect_classifier_scores_one():
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = (x[:, 0] > 0).long()
    net = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    guide = MeanFieldGuide(net, scale="fan_in")
    model = BayesianModel(net, FanInGaussian(guide.weight_spec, last_gain=5.0), Bernoulli())
    generator = torch.Generator().manual_seed(0)
    fit(model, guide, (x, y), num_steps=400, lr=0.03, num_particles=4, generator=generator)
    found = Predictive(guide, net, model.likelihood)(x, generator=generator)
    assert (found.label == y).float().mean() > 0.98
    assert accuracy(found.probs, y) == (found.label == y).float().mean()
    assert found.confidence.min() >= 0.5
