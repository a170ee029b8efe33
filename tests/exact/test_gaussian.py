"""Gaussian classes against the chain rule of Student distributions, and against a plain discriminant analysis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t

from bayeshnet.exact import GaussianClassesHead

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(25, 3, generator=GENERATOR, dtype=torch.float64) * torch.tensor([1.0, 0.5, 2.0]).double()
Y = torch.randint(3, (25,), generator=GENERATOR)
X[:, 0] += Y


def student(x, rows, labels, c, prior):
    """Log-density of ``x`` of class ``c`` after some examples, by the textbook's update of each parameter."""
    kappa, psi, nu = prior
    size = len(x)
    scatter = psi * np.eye(size)
    for k in set(labels) | {c}:
        own = np.array([r for r, label in zip(rows, labels, strict=True) if label == k]).reshape(-1, size)
        n = len(own)
        if n:
            mean = own.mean(0)
            scatter += (own - mean).T @ (own - mean) + kappa * n / (kappa + n) * np.outer(mean, mean)
    own = np.array([r for r, label in zip(rows, labels, strict=True) if label == c]).reshape(-1, size)
    strength = kappa + len(own)
    center = own.sum(0) / strength
    degrees = nu + len(rows) - size + 1
    return multivariate_t(center, scatter * (1 + 1 / strength) / degrees, df=degrees).logpdf(x)


def prior_of(head):
    """The numbers of the prior that the head has chosen."""
    fit = head.fit()
    exact = torch.linalg.eigvalsh(head.gram[:-1, :-1] - (head.cross[:-1] / fit.strength) @ head.cross[:-1].T)
    return head.prior_count, float((fit.scatter - exact).mean()), fit.degrees - head.count


@pytest.mark.parametrize("count", [25, 2])
def test_evidence_is_the_product_of_predictive_densities(count):
    head = GaussianClassesHead(3, prior_count=0.5).update(X[:count], Y[:count])
    rows, labels, prior = X[:count].numpy(), Y[:count].tolist(), prior_of(head)
    right = sum(student(rows[i], rows[:i], labels[:i], labels[i], prior) for i in range(count))
    assert head.log_evidence() == pytest.approx(right, rel=1e-7)


def test_densities_are_those_of_students():
    head = GaussianClassesHead(3, prior_count=0.5).update(X, Y)
    prior, new = prior_of(head), torch.randn(4, 3, dtype=torch.float64)
    found = head.log_density(new)
    for i in range(4):
        for c in range(3):
            right = student(new[i].numpy(), X.numpy(), Y.tolist(), c, prior)
            assert float(found[i, c]) == pytest.approx(right, rel=1e-7)


def test_the_prior_maximizes_the_evidence():
    head = GaussianClassesHead(3, prior_count=0.5).update(X, Y)
    kappa, psi, nu = prior_of(head)
    rows, labels = X.numpy(), Y.tolist()
    for factors in [(1.05, 1), (0.95, 1), (1, 1.05), (1, 0.95)]:
        prior = (kappa, psi * factors[0], 2 + (nu - 2) * factors[1])
        other = sum(student(rows[i], rows[:i], labels[:i], labels[i], prior) for i in range(25))
        assert other < head.log_evidence()


def test_many_examples_give_linear_discriminant_analysis():
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (20_000,), generator=generator)
    mix = torch.randn(4, 4, generator=generator).double()
    x = torch.randn(20_000, 4, generator=generator).double() @ mix
    x[:, :3] += torch.nn.functional.one_hot(y, 3)
    head = GaussianClassesHead(4).update(x, y)
    means = torch.stack([x[y == c].mean(0) for c in range(3)])
    covariance = sum((x[y == c] - means[c]).T @ (x[y == c] - means[c]) for c in range(3)) / 20_000
    solved = torch.linalg.solve(covariance, means.T)
    right = (x @ solved - 0.5 * (means.T * solved).sum(0) + torch.bincount(y).log()).log_softmax(1)
    torch.testing.assert_close(head.log_probs(x), right, rtol=1e-2, atol=1e-2)
    wide = torch.nn.functional.pad(x, (0, 1), value=1.0)
    torch.testing.assert_close((wide @ head.linear_map()).log_softmax(1), right, rtol=1e-2, atol=1e-2)


def test_left_out_logits_are_those_of_the_other_examples():
    head = GaussianClassesHead(3, prior_count=0.5).update(X, Y)
    prior, frequencies = prior_of(head), (Y.bincount().double() / 25).log()
    found = head.left_out_logits(X, Y)
    for i in range(25):
        rows, labels = np.delete(X.numpy(), i, 0), np.delete(Y.numpy(), i).tolist()
        for c in range(3):
            right = student(X[i].numpy(), rows, labels, c, prior) + float(frequencies[c])
            assert float(found[i, c]) == pytest.approx(right, rel=1e-7)


def test_classes_without_examples_are_known_and_unlikely():
    head = GaussianClassesHead(3).update(X, Y).add_classes(torch.tensor([7, 1, -2]))
    assert head.labels.tolist() == [-2, 0, 1, 2, 7]
    plain = GaussianClassesHead(3).update(X, Y)
    assert head.log_evidence() == pytest.approx(plain.log_evidence(), rel=1e-12)
    found = head.log_probs(X)
    assert bool(found.isfinite().all())
    assert float(found[:, [0, 4]].exp().max()) < 0.05
    assert torch.equal(found.argmax(1) - 1, plain.log_probs(X).argmax(1))


def test_examples_that_are_forgotten_are_left_out_by_their_weight():
    """Against weighted sums without each; classes of less than one example are left with finite densities."""
    weight = 0.8 ** torch.arange(24, -1, -1).double()
    head = GaussianClassesHead(3, prior_count=0.5, forgetting=0.8).update(X, Y)
    (kappa, psi, nu), found = prior_of(head), head.left_out_scores(X, Y, weight)[0]
    assert float(head.counts.min()) < 1
    for i in range(25):
        rest = weight * (torch.arange(25) != i)
        one = torch.nn.functional.one_hot(Y, 3).double() * rest[:, None]
        strength, sums = one.sum(0) + kappa, one.T @ X
        scatter = psi * torch.eye(3).double() + (rest * X.T) @ X - (sums.T / strength) @ sums
        degrees = nu + float(rest.sum()) - 2
        for c in range(3):
            shape = (scatter * (1 + 1 / strength[c]) / degrees).numpy()
            right = multivariate_t((sums[c] / strength[c]).numpy(), shape, df=degrees).logpdf(X[i].numpy())
            assert float(found[i, c]) == pytest.approx(right, rel=1e-6)
    assert bool(head.left_out_logits(X, Y).isfinite().all())
    one = GaussianClassesHead(3).update(X, Y).update(X[:1] + 9, torch.tensor([7])).forget(0.99)
    assert bool(one.left_out_logits(X[:1] + 9, torch.tensor([7])).isfinite().all())


def test_a_class_that_is_forgotten_is_as_unlikely_as_one_of_which_nothing_was_learned():
    head = GaussianClassesHead(3, forgetting=0.8).update(X, torch.full((25,), 7))
    for _ in range(6):
        head.update(X, Y)
    assert float(head.counts[3]) < 1e-12
    found = head.add_classes(torch.tensor([9])).log_probs(X)
    torch.testing.assert_close(found[:, 3], found[:, 4], rtol=1e-4, atol=1e-4)
