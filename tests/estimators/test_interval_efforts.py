"""Efforts of intervals of the KL: draws of the analytic part, and the search in a prior that is a hypernetwork."""

import pytest
import torch
from torch.distributions import Independent, Laplace

from bayeshnet.estimators.intervals import implicit_prior, information
from bayeshnet.estimators.intervals.analytic_mean import mean_analytic_part
from tests.support.oracles import DTYPE, LinearProblem


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class CountedLaplace(Laplace):
    """A prior without a closed form that counts the weight vectors it is asked for."""

    asked = 0

    def log_prob(self, value):
        self.asked += len(value)
        return super().log_prob(value)


def test_a_target_out_of_reach_costs_a_million_draws():
    """The last round has 2**20 draws; those before it, each a quarter of the next, have a third of it together."""
    zero = torch.zeros(1, dtype=DTYPE)
    prior = CountedLaplace(zero, zero + 1)
    with torch.no_grad():
        found = mean_analytic_part(LinearProblem.make(1, 1).q(), Independent(prior, 1), 0.0, generator())
    assert found.middle.error > 0
    assert 2**20 <= prior.asked < 1.5 * 2**20


@pytest.mark.parametrize(("share", "settled"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("target", [pytest.param(0.05, marks=pytest.mark.slow), 0.4])
def test_the_search_is_settled_if_both_sides_differ_by_less_than_eight_targets(share, settled, target, monkeypatch):
    def block(q, num, *_):
        zero = torch.zeros(num, dtype=DTYPE)
        return information._Block(zero, zero + 8 * share * target, zero > 0, zero + 1, zero + 1)

    monkeypatch.setattr(information, "_block", block)
    monkeypatch.setattr(implicit_prior, "_log_prob", lambda p, w, *_: w.new_zeros(len(w)))  # the same in each search
    q, p = LinearProblem.make(1, 4), LinearProblem.make(2, 4)
    _, _, doubt = implicit_prior.searched_log_prob(q.q(), p.q(), target, generator(), quick=True)
    assert (doubt is None) == settled
