"""Densities of Gaussian classes from the sums of a linear head, against dense scatters of the examples."""

from __future__ import annotations

import torch
from scipy.stats import multivariate_t

from bayeshnet.exact import BayesianLinearHead
from bayeshnet.exact.densities import class_scores

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.tensor([2, 5, 9]).repeat_interleave(torch.tensor([20, 12, 7]))
X = torch.randn(39, 4, generator=GENERATOR).double() + Y[:, None] * torch.tensor([0.2, -0.1, 0.0, 0.3]).double()


def dense(x, y, ridge, new):
    """Log-densities and distances of one input by the scatter of examples around the means of their classes."""
    labels = y.unique()
    means = torch.stack([x[y == c].mean(0) for c in labels])
    centered = x - means[torch.searchsorted(labels, y)]
    scatter = centered.T @ centered + ridge * torch.eye(4).double()
    away = new - means
    distance = (away * torch.linalg.solve(scatter, away.T).T).sum(1) * (4 + len(x))
    freedom = len(x) + 1
    log_density = [
        multivariate_t(m.numpy(), (scatter * (1 + 1 / int((y == c).sum())) / freedom).numpy(), freedom).logpdf(new)
        for m, c in zip(means, labels, strict=True)
    ]
    return torch.tensor(log_density), distance


def test_densities_and_distances_are_those_of_the_scatter_within_classes():
    head = BayesianLinearHead(4).update(X, Y)
    new = torch.randn(5, 4, generator=GENERATOR).double() * 2
    found = class_scores(head, head.predict(new))
    for i in range(5):
        log_density, distance = dense(X, Y, head.fit().ridge, new[i])
        torch.testing.assert_close(found.log_density[i], log_density)
        torch.testing.assert_close(found.distance[i], distance)


def test_left_out_scores_are_those_of_the_other_examples():
    head = BayesianLinearHead(4).update(X, Y)
    found = class_scores(head, head.predict(X), Y)
    for i in (0, 25, 38):
        others = torch.arange(39) != i
        log_density, distance = dense(X[others], Y[others], head.fit().ridge, X[i])
        torch.testing.assert_close(found.log_density[i], log_density)
        torch.testing.assert_close(found.distance[i], distance)


def test_classes_of_one_example_and_of_none_have_finite_scores():
    head = BayesianLinearHead(4).update(X[:33], Y[:33]).add_classes(torch.tensor([7]))
    found = class_scores(head, head.predict(X), torch.cat([Y[:32], Y[32:33].expand(7)]))
    assert bool(found.log_density.isfinite().all())
    assert bool(found.distance.isfinite().all())
    assert int(found.log_density[:30, 2].gt(found.log_density[:30, :2].amax(1)).sum()) == 0


def test_the_only_example_of_a_class_is_left_out_of_no_class():
    """Without it its class has no mean: it is no more likely there than elsewhere."""
    x, y = torch.cat([X, torch.full((1, 4), 20.0).double()]), torch.cat([Y, torch.tensor([11])])
    head = BayesianLinearHead(4).update(x, y)
    found = class_scores(head, head.predict(x[-1:]), y[-1:])
    assert found.log_density[0, -1] == found.log_density[0, :-1].min() < -8
    assert found.distance[0, -1] == found.distance[0, :-1].max()


def test_examples_of_less_weight_are_left_out_by_it():
    """A head whose sums were halved is one of examples that each count half."""
    head = BayesianLinearHead(4).update(X, Y).forget(0.5)
    found = class_scores(head, head.predict(X), Y, torch.full((39, 1), 0.5).double())
    for i in (0, 25, 38):
        rest = 0.5 * (torch.arange(39) != i).double()
        sums = [rest * (c == Y) for c in Y.unique()]
        counts, means = torch.stack([s.sum() for s in sums]), torch.stack([s @ X / s.sum() for s in sums])
        centered = X - means[torch.searchsorted(Y.unique(), Y)]
        scatter = (rest * centered.T) @ centered + head.fit().ridge * torch.eye(4).double()
        away, freedom = X[i] - means, float(rest.sum()) + 1
        distance = (away * torch.linalg.solve(scatter, away.T).T).sum(1) * (4 + rest.sum())
        torch.testing.assert_close(found.distance[i], distance)
        shapes = [(scatter * (1 + 1 / n) / freedom).numpy() for n in counts]
        right = [multivariate_t(m.numpy(), s, freedom).logpdf(X[i]) for m, s in zip(means, shapes, strict=True)]
        torch.testing.assert_close(found.log_density[i], torch.tensor(right))
