"""Measures of the study of exactness against numbers that can be worked out by hand, and its recommendation."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import near_exact
import near_exact_page as page
from near_exact_families import Parts
from near_exact_problems import Problem

from bayeshnet.distributions import MeanFieldPosterior
from bayeshnet.guides import Categorical, Gaussian
from bayeshnet.inference import DrawnPosterior


def problem(likelihood, outputs, y):
    x = torch.linspace(-1, 1, len(y)).unsqueeze(1)
    regions = {"left": x[:, 0] < 0, "right": x[:, 0] >= 0}
    return Problem("toy", "Toy", x, y, x, y, likelihood, 3, outputs, regions, 1.0, 1.0, 2)


def test_agreement_of_classes_is_counted_by_region():
    toy = problem(Categorical(), 2, torch.tensor([0, 1, 1, 0]))
    truth = {"mean": torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]), "spread": torch.ones(4)}
    found = {"mean": torch.tensor([[0.7, 0.3], [0.6, 0.4], [0.4, 0.6], [0.7, 0.3]]), "spread": torch.ones(4) * 4}
    found["log_likelihood"] = torch.tensor([-1.0, -2.0, -3.0, -5.0])
    left, right = near_exact.compared(toy, found, truth).values()
    wanted = {"log_likelihood": -1.5, "variation": 0.3, "agreement": 0.5, "accuracy": 0.5, "spread": 2.0}
    assert left == pytest.approx(wanted)
    assert right == pytest.approx({**wanted, "log_likelihood": -4.0, "variation": 0.0, "agreement": 1.0, "accuracy": 1})


def test_densities_of_values_are_those_of_the_mixture():
    toy = problem(Gaussian(0.5), 1, torch.zeros(4, 1))
    model = toy.model()
    weights = 0.1 * torch.randn(2, model.weight_spec.numel, generator=torch.Generator().manual_seed(0))
    found = near_exact.predictions(model, toy, DrawnPosterior(weights, model.weight_spec))
    outputs = model.outputs(weights, toy.test_x)[..., 0]
    centers = torch.linspace(-5, 5, 401)[:-1] + 0.0125
    normal = torch.distributions.Normal(outputs.unsqueeze(-1), 0.5)
    wanted = normal.log_prob(centers).exp().mean(0) * 0.025
    torch.testing.assert_close(found["density"], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(found["spread"], outputs.var(0, unbiased=False), atol=1e-6, rtol=1e-3)


def test_the_bound_of_a_mixture_of_equal_parts_is_that_of_a_part():
    toy = problem(Gaussian(0.5), 1, torch.zeros(4, 1))
    model = toy.model()
    torch.manual_seed(0)
    part = MeanFieldPosterior(model.weight_spec, sigma=0.1, scale=model.prior.whitening)
    one, two = (near_exact.negative_elbo(model, toy, q) for q in (part, Parts([part, part])))
    assert two == pytest.approx(one, abs=0.5)
    assert near_exact.negative_elbo(model, toy, DrawnPosterior(torch.zeros(1, 10), model.weight_spec)) is None


def row(elbo, log_likelihood, spread):
    return {
        "seconds": 1.0,
        "negative_elbo": elbo,
        "regions": {"gap": {"log_likelihood": log_likelihood, "spread": spread}},
    }


def test_the_lowest_bound_is_recommended_if_it_is_near():
    rows = {page.TRUTH: row(None, -0.5, 1.0), "a": row(20.0, -0.55, 0.9), "b": row(30.0, 0.0, 1.0)}
    assert page.best_family(rows) == "a"
    assert page.recommended(rows).endswith("That is near the exact posterior.")
    rows["a"] = row(20.0, -0.55, 0.8)
    assert page.recommended(rows).endswith("of the others b would be: use the sampler.")
    rows["b"] = row(30.0, -0.61, 1.0)
    assert page.recommended(rows).endswith("nor is any other: use the sampler.")
    assert "0.050 nats behind the truth and 0.80 of its spread (gap)" in page.recommended(rows)
