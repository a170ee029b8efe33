"""Bayesian linear regression against dense Gaussian algebra, one example at a time, and scipy."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from bayeshnet.exact import BayesianLinearHead

torch_rng = torch.Generator().manual_seed(0)
X = torch.randn(30, 4, generator=torch_rng, dtype=torch.float64)
Y = X @ torch.randn(4, 2, generator=torch_rng, dtype=torch.float64) + 0.3 * torch.randn(
    30, 2, generator=torch_rng, dtype=torch.float64
)
WIDE = torch.nn.functional.pad(X, (0, 1), value=1.0)


def dense_log_evidence(wide, y, ridge, noise):
    """Log-density of all targets by the covariance over examples."""
    kernel = (torch.eye(len(wide)).double() + wide @ wide.T / ridge).numpy()
    zero = np.zeros(len(wide))
    return sum(multivariate_normal(zero, float(v) * kernel).logpdf(y[:, c].numpy()) for c, v in enumerate(noise))


@pytest.mark.parametrize("count", [30, 3])
def test_evidence_is_that_of_the_dense_gaussian(count):
    """Also with fewer examples than features, where the Gram matrix is singular."""
    head = BayesianLinearHead(4, 2).update(X[:count], Y[:count])
    fit = head.fit()
    right = dense_log_evidence(WIDE[:count], Y[:count], fit.ridge, fit.noise)
    assert head.log_evidence() == pytest.approx(right, rel=1e-9 if count == 30 else 1e-7)


def test_evidence_is_at_its_maximum():
    head = BayesianLinearHead(4, 2).update(X, Y)
    fit = head.fit()
    for ridge, noise in [(1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)]:
        assert dense_log_evidence(WIDE, Y, fit.ridge * ridge, fit.noise * noise) < head.log_evidence()


def test_predictions_are_those_of_the_dense_posterior():
    head = BayesianLinearHead(4, 2).update(X, Y)
    fit, new = head.fit(), torch.randn(5, 4, dtype=torch.float64)
    wide = torch.nn.functional.pad(new, (0, 1), value=1.0)
    kernel = WIDE @ WIDE.T / fit.ridge + torch.eye(30).double()
    across = wide @ WIDE.T / fit.ridge
    mean = across @ torch.linalg.solve(kernel, Y)
    leverage = 1 + wide.square().sum(1) / fit.ridge - (across @ torch.linalg.inv(kernel) * across).sum(1)
    found = head.predict(new)
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.variance, leverage[:, None] * fit.noise)


def test_leave_one_out_is_that_of_fits_without_the_example():
    head = BayesianLinearHead(4, 2).update(X, Y)
    ridge = head.fit().ridge
    found = head.leave_one_out(X, Y)
    for i in (0, 7, 29):
        rest = torch.arange(30) != i
        gram = WIDE[rest].T @ WIDE[rest] + ridge * torch.eye(5).double()
        torch.testing.assert_close(found[i], WIDE[i] @ torch.linalg.solve(gram, WIDE[rest].T @ Y[rest]))


def test_leave_one_out_of_classes():
    y = torch.arange(30) % 3 * 5
    head = BayesianLinearHead(4).update(X, y)
    one = torch.nn.functional.one_hot(y // 5, 3).double()
    other = BayesianLinearHead(4, 3).update(X, one)
    torch.testing.assert_close(head.leave_one_out(X, y), other.leave_one_out(X, one))


def test_a_known_noise_and_slope_are_found():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0]]).double() + 0.5 + 0.1 * torch.randn(20_000, 1, generator=generator).double()
    fit = BayesianLinearHead(2, 1).update(x, y).fit()
    assert float(fit.noise.sqrt()) == pytest.approx(0.1, rel=0.02)
    assert fit.weight.flatten().tolist() == pytest.approx([1.0, -2.0, 0.5], abs=0.005)


def test_probabilities_are_those_of_deviations_from_one_half():
    y = torch.arange(30) % 3
    head, new = BayesianLinearHead(4).update(X, y), torch.randn(5, 4, dtype=torch.float64)
    values = BayesianLinearHead(4, 3).update(X, torch.nn.functional.one_hot(y, 3).double()).predict(new)
    right = (1.7 * (values.mean - 0.5) / values.variance.sqrt()).softmax(1)
    torch.testing.assert_close(head.predict(new).probs, right)
    torch.testing.assert_close(head.log_probs(new), right.log())


def test_the_temperature_maximizes_the_log_probability_of_left_out_examples():
    """The tally is compared with fits without each example; new examples are then calibrated too."""
    generator = torch.Generator().manual_seed(2)
    y = torch.randint(3, (4000,), generator=generator)
    x = torch.randn(4000, 5, generator=generator).double()
    x[:, :3] += 1.2 * torch.nn.functional.one_hot(y, 3)
    head = BayesianLinearHead(5).update(x[:300], y[:300]).calibrate(x[:200], y[:200]).calibrate(x[200:300], y[200:300])
    left_out, fit = head.leave_one_out(x[:300], y[:300]), head.fit()
    leverage = head.predict(x[:300]).leverage
    deviations = (left_out - 0.5) / (fit.noise / (1 - leverage[:, None])).sqrt()
    right = [-torch.nn.functional.cross_entropy(0.1 * 100 ** (i / 60) * deviations, y[:300]) * 300 for i in range(61)]
    torch.testing.assert_close(head.tally, torch.stack(right))
    assert head.beta == pytest.approx(0.1 * 100 ** (int(torch.stack(right).argmax()) / 60))
    logits = head.logits(x[300:])
    losses = {b: float(torch.nn.functional.cross_entropy(b * logits, y[300:])) for b in (0.7, 1.0, 1.4)}
    assert losses[1.0] < min(losses[0.7], losses[1.4])
    later = BayesianLinearHead(5).update(x[:300], y[:300]).calibrate(x[300:], y[300:], learned=False)
    assert later.beta == pytest.approx(head.beta, rel=0.3)


def test_examples_of_unknown_classes_are_passed_over():
    y = torch.arange(30) % 2
    head = BayesianLinearHead(4).update(X, y).calibrate(X, y + 1, learned=False)
    other = BayesianLinearHead(4).update(X, y).calibrate(X[y == 0], y[y == 0] + 1, learned=False)
    torch.testing.assert_close(head.tally, other.tally)
    assert head.tally.any()


def test_few_examples_make_probabilities_flatter():
    """The training examples of an interpolating fit say nothing; left out they do."""
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 40, generator=generator).double(), torch.arange(12) % 2
    new = torch.randn(200, 40, generator=generator).double()
    probs = BayesianLinearHead(40).update(x, y).calibrate(x, y).predict(new).probs
    assert float(probs.amax(1).mean()) < 0.75


def test_foreign_inputs_have_flat_probabilities():
    y = torch.arange(30) % 3
    head = BayesianLinearHead(4).update(X, y)
    far, noise = head.predict(1e6 * X), head.fit().noise
    torch.testing.assert_close(far.variance / far.leverage[:, None], noise.expand(30, 3))
    near = head.predict(X)
    assert float(near.leverage.max()) < 1 < float(far.leverage.min())


def test_a_copy_of_a_calibrated_head_has_the_same_fit_until_it_learns_more():
    y = torch.arange(30) % 3
    head = BayesianLinearHead(4).update(X, y).calibrate(X, y)
    again, fresh = copy.deepcopy(head), BayesianLinearHead(4).update(X, y)
    assert again.fit().ridge == head.fit().ridge == fresh.fit().ridge
    more = fresh.update(X + 1, y)
    assert again.update(X + 1, y).fit().ridge == more.fit().ridge != head.fit().ridge


def test_left_out_logits_are_those_of_fits_without_the_example():
    y = torch.arange(30) % 3
    head = BayesianLinearHead(4).update(X, y).calibrate(X, y)
    fit, one = head.fit(), torch.nn.functional.one_hot(y, 3).double()
    found = head.left_out_logits(X, y)
    for i in (0, 7, 29):
        rest = torch.arange(30) != i
        gram = WIDE[rest].T @ WIDE[rest] + fit.ridge * torch.eye(5).double()
        mean = WIDE[i] @ torch.linalg.solve(gram, WIDE[rest].T @ one[rest])
        std = (fit.noise * (1 + WIDE[i] @ torch.linalg.solve(gram, WIDE[i]))).sqrt()
        torch.testing.assert_close(found[i], head.beta * (mean - 0.5) / std)


def test_classes_without_examples_are_known_and_unlikely():
    y = torch.arange(30) % 3
    head = BayesianLinearHead(4).update(X, y).add_classes(torch.tensor([7, 1, -2]))
    assert head.labels.tolist() == [-2, 0, 1, 2, 7]
    found = head.calibrate(X, y).log_probs(X)
    assert bool(found.isfinite().all())
    assert float(found[:, [0, 4]].exp().max()) < 0.05
    late = torch.full((30,), 7)
    other = BayesianLinearHead(4).update(X, y).update(X + 1, late)
    torch.testing.assert_close(head.update(X + 1, late).linear_map()[:, 1:], other.linear_map())
    with pytest.raises(ValueError, match="labels: expected a head of classes"):
        BayesianLinearHead(4, 2).add_classes(y)


def test_a_singular_gram_matrix_has_the_fit_of_the_pseudoinverse():
    """Features that repeat one another, and one that is zero, change no prediction: they share a weight."""
    lone = torch.tensor([0.0]).double().expand(30, 1)
    rank = torch.cat([X, X, X @ torch.ones(4, 2).double(), lone], dim=1)
    fit = BayesianLinearHead(11, 2).update(rank, Y).fit()
    wide = torch.nn.functional.pad(rank, (0, 1), value=1.0)
    damped = wide.T @ torch.linalg.solve(wide @ wide.T + fit.ridge * torch.eye(30).double(), Y)
    torch.testing.assert_close(fit.weight, damped, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(wide @ fit.weight, WIDE @ torch.linalg.lstsq(WIDE, Y).solution, rtol=0.02, atol=0.02)


def test_a_class_of_one_example_is_found():
    y = torch.cat([torch.arange(30) % 2, torch.tensor([9])])
    x = torch.cat([X, torch.full((1, 4), 6.0).double()])
    head = BayesianLinearHead(4).update(x, y).calibrate(x, y)
    probs = head.predict(torch.cat([x[-1:] + 0.1, X])).probs
    assert int(probs[0].argmax()) == 2
    assert float(probs[1:, 2].max()) < 0.5
    assert bool(head.log_probs(x).isfinite().all())


def test_what_a_head_cannot_use_is_refused_before_it_has_changed():
    values, classes = BayesianLinearHead(4, 2).update(X, Y), BayesianLinearHead(4).update(X, torch.arange(30) % 3)
    before = [copy.deepcopy(head.state_dict()) for head in (values, classes)]
    large = torch.full((1, 2), 1e200, dtype=torch.float64)
    for error, says, call in (
        (TypeError, "y: expected floating values", lambda: values.update(X, torch.ones(30, 2, dtype=torch.long))),
        (ValueError, r"y: expected finite values below 1e\+100", lambda: values.update(X[:1], large)),
        (TypeError, "y: expected classes, as integers", lambda: classes.update(X, Y[:, 0])),
        (
            ValueError,
            "y: expected at most 16384 classes",
            lambda: classes.update(torch.ones(16385, 4), torch.arange(16385)),
        ),
        (ValueError, "features: expected a head of classes", lambda: values.log_probs(X)),
        (ValueError, "y: expected a head of classes", lambda: values.calibrate(X, torch.arange(30))),
        (ValueError, "probs: expected a prediction of classes", lambda: values.predict(X).probs),
        (ValueError, "num_features: expected at most 16384", lambda: BayesianLinearHead(2**14 + 1)),
        (ValueError, "num_outputs: expected at most 16384", lambda: BayesianLinearHead(4, 2**14 + 1)),
    ):
        with pytest.raises(error, match=f"^{says}"):
            call()
    for head, known in zip((values, classes), before, strict=True):
        torch.testing.assert_close(head.state_dict(), known, rtol=0, atol=0)


def test_examples_that_are_forgotten_are_left_out_by_their_weight():
    """Against fits without each; with the weight 1 the oldest would have a leverage far above one."""
    y, weight = torch.arange(30) % 3, 0.8 ** torch.arange(29, -1, -1).double()
    head, one = BayesianLinearHead(4, forgetting=0.8).update(X, y), torch.nn.functional.one_hot(y, 3).double()
    fit = head.fit()
    means, logits = head.leave_one_out(X, y, weight), head.left_out_logits(X, y, weight)
    for i in range(30):
        rest = weight * (torch.arange(30) != i)
        gram = (rest * WIDE.T) @ WIDE + fit.ridge * torch.eye(5).double()
        mean = WIDE[i] @ torch.linalg.solve(gram, (rest * WIDE.T) @ one)
        std = (fit.noise * (1 + WIDE[i] @ torch.linalg.solve(gram, WIDE[i]))).sqrt()
        torch.testing.assert_close(means[i], mean)
        torch.testing.assert_close(logits[i], head.beta * (mean - 0.5) / std)
    torch.testing.assert_close(head.mean_weights, torch.stack([weight[y == c].mean() for c in range(3)]))
    values = BayesianLinearHead(4, 2, forgetting=0.8).update(X, Y)
    assert float(values.mean_weights[1]) == pytest.approx(float(weight.mean()), rel=1e-9)
    for bad in (weight[1:], weight + 1, weight.long(), weight * torch.nan):
        with pytest.raises((TypeError, ValueError), match="weight"):
            head.left_out_logits(X, y, bad)


def test_the_temperature_of_a_head_that_forgets_is_that_of_new_examples():
    generator = torch.Generator().manual_seed(0)
    map_, x = torch.randn(5, 3, generator=generator), torch.randn(2000, 5, generator=generator)
    y = (x @ map_ + torch.randn(2000, 3, generator=generator)).argmax(1)
    head = BayesianLinearHead(5, forgetting=0.97).update(x[:1000], y[:1000])
    deviations, new = head.logits(x[1000:]) / head.beta, y[1000:, None]
    head.calibrate(x[:1000], y[:1000], weight=0.97 ** torch.arange(999, -1, -1).double())
    found, *others = (
        float(-(beta * deviations).log_softmax(1).gather(1, new).mean())
        for beta in (head.beta, 0.5 * head.beta, 0.9, 2 * head.beta)
    )
    assert found < min(others) - 0.01
    assert head.calibrate(x[:1000], y[:1000]).beta == pytest.approx(head.beta, rel=0.1)


def test_the_ridge_follows_what_is_learned_where_the_count_stays():
    """Sums that forget have the same count for ever, and a head that is scaled may have it again."""
    noise = torch.arange(30) * 7 % 11 % 3
    for forgetting, factor in ((0.3, 1.0), (1.0, 0.5)):
        heads = [BayesianLinearHead(4, forgetting=forgetting).update(X, (X[:, 0] > 0).long()) for _ in range(2)]
        count = heads[0].calibrate(X, (X[:, 0] > 0).long()).count
        found, fresh = (head.forget(factor).update(X[:15], noise[:15]).fit() for head in heads)
        assert heads[0].count == pytest.approx(count, rel=1e-12)
        assert (found.ridge, found.log_evidence) == (fresh.ridge, fresh.log_evidence)


def test_the_highest_evidence_is_found_whatever_was_learned_before():
    """The evidence of few examples of many features may have two maxima; the lower one is near the earlier ridge."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    around = torch.stack([torch.cos(2.0 * y), torch.sin(2.0 * y)], 1) * 2
    x = around + 0.3 * torch.randn(90, 2, generator=generator)
    phases = 6.3 * torch.rand(60, generator=generator)
    features = (torch.cos(x @ torch.randn(2, 60, generator=generator) / 2 + phases) / 30**0.5).double()
    whole = BayesianLinearHead(60).update(features, y)
    parts = BayesianLinearHead(60).update(features[:30], y[:30]).calibrate(features[:30], y[:30])
    parts.update(features[30:], y[30:])
    assert parts.log_evidence() == pytest.approx(whole.log_evidence(), abs=1e-3)
    level = round(math.log(float(whole.gram.trace())))
    evidences = [whole._at(math.exp(level + at)).log_evidence for at in range(-17, 10)]
    assert parts.log_evidence() >= max(evidences) - 1e-3


def test_fits_are_new_in_inference_mode_too():
    with torch.inference_mode():
        head = BayesianLinearHead(4, 2).update(X.clone(), Y.clone())
        before = head.predict(X).mean
        head.update(X + 1, Y.clone())
        found = head.predict(X).mean
    right = BayesianLinearHead(4, 2).update(X, Y).update(X + 1, Y).predict(X).mean
    torch.testing.assert_close(found, right)
    assert not torch.allclose(before, right)
    assert head.update(X, Y).count == 90  # and it goes on outside


def test_a_head_that_has_learned_nothing_has_the_evidence_of_nothing():
    assert BayesianLinearHead(4, 2).log_evidence() == BayesianLinearHead(4).log_evidence() == 0.0


def test_a_class_that_is_forgotten_is_as_unlikely_as_one_of_which_nothing_was_learned():
    """Not less likely than that: it had the probability zero."""
    y = torch.arange(30) % 2
    head = BayesianLinearHead(4, forgetting=0.8).update(X, torch.full((30,), 5))
    for _ in range(5):
        head.update(X, y)
    assert float(head.counts[2]) < 1e-10
    found = head.add_classes(torch.tensor([9])).log_probs(X)
    torch.testing.assert_close(found[:, 2], found[:, 3], rtol=1e-4, atol=1e-4)
    assert float(found.min()) > -20
    few = BayesianLinearHead(4).update(X, y).update(X[:2], torch.tensor([5, 5]))
    noise = few.fit().noise
    changed = few.forget(0.25).fit().noise  # of half an example
    left = few.square - (few.cross * few.fit().weight).sum(0)
    torch.testing.assert_close(changed, (left + torch.tensor([0.0, 0.0, 0.5])) / few.count)
    assert float(changed[2]) > float(noise[2])


def test_classes_that_are_all_forgotten_have_the_noise_of_what_is_left():
    """Of less than an example of each class: the noise is that of what they say, and no more for the most frequent."""
    y = (X[:30, 0] > 0).long()
    head = BayesianLinearHead(4).update(X[:30], y)
    ridge = head.fit().ridge
    faded = head.forget(0.02)
    assert float(faded.counts.max()) < 1
    faded.chosen.copy_(torch.tensor([0.02 * ridge, faded.count]))  # at the ridge of as many examples
    noise = faded.fit().noise
    left = faded.square - (faded.cross * faded.fit().weight).sum(0)
    rarer = 1 - faded.square / faded.square.max()
    torch.testing.assert_close(noise, (left + rarer) / faded.count)
