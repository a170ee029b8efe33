from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from bayeshnet.metrics import agreement, auroc, confidence, entropy, expected_entropy, fpr95, fpr_at, mutual_information


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.randn(7, 30, 4, generator=generator, dtype=torch.float64)).softmax(-1)


def test_entropy_against_scipy(samples):
    assert torch.allclose(entropy(samples), torch.from_numpy(scipy_entropy(samples.numpy(), axis=-1)))
    assert float(entropy(torch.full((3,), 1 / 3))) == pytest.approx(math.log(3))


def test_total_uncertainty_is_the_sum_of_its_parts(samples):
    total = entropy(samples.mean(0))
    assert torch.allclose(total, expected_entropy(samples) + mutual_information(samples))
    by_hand = [[float(scipy_entropy(p)) for p in row] for row in samples.numpy()]
    assert torch.allclose(expected_entropy(samples), torch.tensor(by_hand, dtype=torch.float64).mean(0))


def test_mutual_information_of_known_cases():
    onehot = torch.eye(3, dtype=torch.float64)[:, None]
    assert float(mutual_information(onehot)) == pytest.approx(math.log(3))
    same = torch.tensor([[[0.2, 0.8]]] * 5)
    assert float(mutual_information(same)) == pytest.approx(0.0, abs=1e-7)


def test_mutual_information_is_never_negative_in_single_precision():
    probs = torch.rand(1000, 3).softmax(-1)
    nearly = probs + 1e-7 * torch.randn(20, 1000, 3)
    assert float(mutual_information(nearly).min()) >= 0


def test_confidence_and_agreement(samples):
    assert torch.equal(confidence(samples), samples.max(-1).values)
    std = torch.from_numpy(samples.numpy().std(axis=0))
    assert torch.allclose(agreement(samples), 1 - std.mean(-1))
    assert float(agreement(torch.tensor([[[0.5, 0.5]]] * 3))) == 1


def test_single_sample_and_bad_shapes(samples):
    assert torch.equal(agreement(samples[:1]), torch.ones(30, dtype=torch.float64))
    with pytest.raises(ValueError, match="samples"):
        mutual_information(torch.rand(3))
    with pytest.raises(TypeError, match="probs"):
        entropy(torch.ones(3, dtype=torch.int64))


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_and_fpr_against_scikit_learn(ties):
    from sklearn.metrics import roc_auc_score, roc_curve

    generator = torch.Generator().manual_seed(1)
    known = torch.randn(200, generator=generator, dtype=torch.float64)
    foreign = 1 + torch.randn(150, generator=generator, dtype=torch.float64)
    if ties:
        known, foreign = (2 * known).round(), (2 * foreign).round()
    labels = [0] * 200 + [1] * 150
    scores = torch.cat([known, foreign]).numpy()
    assert float(auroc(known, foreign)) == pytest.approx(roc_auc_score(labels, scores))
    false, true, _ = roc_curve([1 - i for i in labels], -scores, drop_intermediate=False)
    assert float(fpr95(known, foreign)) == pytest.approx(false[true >= 0.95].min())


def test_auroc_is_the_probability_of_the_right_order():
    known, foreign = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0])
    wins = [(float(f > k) + 0.5 * float(f == k)) for k in known for f in foreign]
    assert float(auroc(known, foreign)) == pytest.approx(sum(wins) / 6)
    assert float(auroc(foreign, known)) == pytest.approx(1 - sum(wins) / 6)


def test_scores_of_any_size_keep_their_order():
    known = torch.tensor([5000.0, 5001.0, 5002.0])  # squashed to 1 by a sigmoid
    assert float(auroc(known, known + 10)) == 1
    assert float(auroc(known, torch.full((2,), torch.inf))) == 1
    assert float(fpr_at(known, torch.tensor([5000.5, 1e30]), 0.3)) == 0
    assert float(fpr_at(known, torch.tensor([5000.5, 1e30]), 0.6)) == 0.5
    assert float(auroc(torch.zeros(3), torch.zeros(2))) == 0.5


def test_scores_are_checked():
    with pytest.raises(ValueError, match="NaN"):
        auroc(torch.tensor([torch.nan]), torch.zeros(2))
    with pytest.raises(ValueError, match="foreign"):
        auroc(torch.zeros(2), torch.zeros(0))
    with pytest.raises(ValueError, match="recall"):
        fpr_at(torch.zeros(2), torch.zeros(2), 1.5)
