"""Measures of the testbed against numbers worked out by hand, and what its page says of them."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import testbed
import testbed_page as page
from testbed_families import net_of, problem_of, true_probs

from bayeshnet.inference import DrawnPosterior
from bayeshnet.mnets import PriorFunctionNet


def test_divergence_against_sums_over_labels():
    """Two test inputs: all choices of three of them, and all labels of each, are summed."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([[0.3, 0.7], [0.8, 0.2]], dtype=torch.float64)
    samples = torch.rand(5, 2, 2, generator=generator, dtype=torch.float64).softmax(-1)
    exact = 0.0
    for first, second in itertools.product(range(2), repeat=2):
        for chosen in itertools.product((first, second), repeat=3):
            for labels in itertools.product(range(2), repeat=3):
                p = math.prod(float(truth[i, y]) for i, y in zip(chosen, labels, strict=True))
                q = torch.stack([samples[:, i, y] for i, y in zip(chosen, labels, strict=True)]).prod(0).mean()
                exact += p * (math.log(p) - math.log(float(q))) / (4 * 8)
    assert testbed.divergence(samples, truth, 3, pairs=200_000) == pytest.approx(exact, abs=0.01)
    assert testbed.divergence(truth.unsqueeze(0), truth, 10) == pytest.approx(0.0, abs=1e-9)


def test_problems_share_the_prior_of_their_truth():
    problem = problem_of(30, 0.1, 0, 1.0)
    assert (len(problem.x), len(problem.test_x)) == (30, 500)
    assert torch.equal(problem_of(30, 0.1, 0, 1.0).y, problem.y)
    truth = DrawnPosterior(problem.regions["truth"].unsqueeze(0), problem.model().weight_spec)
    samples = testbed.probs_of(problem.model(), truth, problem.test_x, 1, 0)
    torch.testing.assert_close(samples[0], true_probs(problem, problem.test_x))
    hard, soft = (true_probs(problem_of(30, t, 0, 1.0), problem.test_x).amax(1).mean() for t in (0.01, 0.5))
    assert hard > soft


def test_draws_with_prior_functions_are_read_by_the_network_that_has_them():
    problem = problem_of(3, 0.1, 0, 1.0)
    model = problem.model()
    count = model.weight_spec.numel
    weights = model.prior.draw(2, torch.Generator().manual_seed(0)).w.reshape(1, -1)
    posterior = DrawnPosterior(weights, PriorFunctionNet(model.net).weight_spec)
    found = net_of(model, posterior).outputs(weights, problem.x)
    expected = model.outputs(weights[:, :count], problem.x) + model.outputs(weights[:, count:], problem.x)
    torch.testing.assert_close(found, expected)


def test_the_page_ranks_families_and_names_the_winner(tmp_path):
    records = [
        {"key": f"testbed/{family}/{size}/0.1/0", "kind": "testbed", "family": family, "size": size}
        | {"temperature": 0.1, "joint": value * size, "single": value / 10, "seconds": 2.0}
        for family, value in {"ensemble of 10": 0.3, "mean field": 0.2, "implicit": 0.4}.items()
        for size in (1, 3)
    ]
    records += [
        {"key": f"bandit/{family}/0", "kind": "bandit", "family": family, "seconds": 9.0}
        | {"regret": value, "random": 99.0, "curve": [0.0, value]}
        for family, value in {"ensemble of 10": 5.0, "mean field": 7.0, "implicit": 6.0}.items()
    ]
    page.write_page(tmp_path / "joint.rst", records, (1, 3), (20, 50), 2.0)
    text = " ".join((tmp_path / "joint.rst").read_text().split())
    assert "mean field is best (0.40 nats). It is ahead of ten networks (0.60)." in text
    assert (
        "ensemble of 10 is best (5.00 of regret). The best Bayesian family is implicit (6.00). That is behind" in text
    )
    assert text.index("* - mean field - 0.400") < text.index("* - ensemble of 10 - 0.600")
    assert "at random - - - - - 99.0" in text.replace("- - - -", "- - - -")
    assert (tmp_path / "joint.png").exists()


def test_the_page_says_what_part_of_the_regret_is_of_one_game():
    games = [{"key": f"bandit/{family}/{i}", "regret": r} for family in "ab" for i, r in enumerate((1.0, 2.0, 7.0))]
    assert page.hardest(games) == " One of the 3 games has 70 % of the regret of all families."
    assert page.hardest(games[:1]) == ""
