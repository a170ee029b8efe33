"""Floors: each learned spread at its lower bound, and its exact value above it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bayeshnet.distributions import (
    GeneratedSigma,
    HypernetPosterior,
    LearnedSigma,
    ModuleSigma,
    ParameterSigma,
)
from bayeshnet.guides import HeteroscedasticGaussian
from bayeshnet.hnets import HMLP
from bayeshnet.metrics import nll
from bayeshnet.weights import WeightSpec

SPEC = WeightSpec.of_shapes([[3, 2], [3]])
DTYPE = torch.float64


class Given(nn.Module):
    """A module that returns one value, whatever the condition."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, condition):
        return self.value


@pytest.mark.parametrize("shape", [(), (2,), (9,)])
@pytest.mark.parametrize(
    "make",
    [
        lambda value, floor: ParameterSigma(nn.Parameter(value), SPEC, floor),
        lambda value, floor: ModuleSigma(Given(value), SPEC, floor),
    ],
    ids=["parameter", "module"],
)
def test_a_right_triangle(make, shape):
    """A value 3 and a floor 4 make 5; a value of any sign at zero leaves the floor, and its gradient is no NaN."""
    value = torch.full(shape, -0.3, dtype=DTYPE)
    expected = torch.full((9,) if shape else (), 0.5, dtype=DTYPE)
    torch.testing.assert_close(make(value, 0.4)(0), expected, rtol=1e-12, atol=0)
    zero = torch.zeros(shape, dtype=DTYPE)
    torch.testing.assert_close(make(zero, 0.4)(0), 0.8 * expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", ["scalar", "tensor", "weight"])
def test_a_learned_spread_is_its_floor_and_an_exponential(size):
    sigma = LearnedSigma(SPEC, 0.7, size, floor=0.2, dtype=DTYPE)
    torch.testing.assert_close(sigma(), torch.full_like(sigma(), 0.7), rtol=1e-12, atol=0)
    for rho, expected in ((math.log(3.0), 3.2), (-1e3, 0.2)):
        nn.init.constant_(sigma.rho, rho)
        torch.testing.assert_close(sigma(), torch.full_like(sigma(), expected), rtol=1e-12, atol=0)


def test_a_generated_spread_is_its_floor_and_an_exponential():
    hnet = HMLP([[9]], cond_in_size=2, num_cond_embs=2, layers=(), verbose=False).double()
    sigma = GeneratedSigma(hnet, init=0.7, floor=0.2)
    outputs = hnet(cond_id=1, ret_format="flattened").reshape(-1)
    torch.testing.assert_close(sigma(cond_id=1), 0.2 + 0.5 * outputs.exp(), rtol=1e-12, atol=0)
    for parameter in hnet.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(sigma(cond_id=1), torch.full((9,), 0.7, dtype=DTYPE), rtol=1e-12, atol=0)


@pytest.mark.parametrize("given", ["learned", nn.Parameter(torch.tensor(0.0, dtype=DTYPE)), Given(torch.zeros(9))])
def test_a_posterior_hands_its_floor_on(given):
    hnet = HMLP(SPEC.shapes, 3, cond_in_size=2, num_cond_embs=1, layers=(), verbose=False).double()
    posterior = HypernetPosterior(hnet, sigma=given, sigma_floor=0.01, cond_id=0)
    if given == "learned":
        nn.init.constant_(posterior.sigma.rho, -1e3)
    sigma = posterior().sigma
    torch.testing.assert_close(sigma, torch.full_like(sigma, 0.01), rtol=1e-6, atol=0)


def test_the_smallest_predicted_noise():
    likelihood = HeteroscedasticGaussian(0.25)
    outputs = torch.tensor([[1.0, -1e3], [2.0, 0.0], [3.0, 2.0]], dtype=DTYPE)
    mean, scale = likelihood.split(outputs)
    expected = [0.25, 0.25 + math.log(2), 0.25 + math.log1p(math.exp(2.0))]
    torch.testing.assert_close(scale[:, 0], torch.tensor(expected, dtype=DTYPE), rtol=1e-12, atol=0)
    assert mean[:, 0].tolist() == [1.0, 2.0, 3.0]
    log_prob = likelihood.log_prob(outputs[:1], torch.tensor([[1.5]], dtype=DTYPE))
    assert log_prob.item() == pytest.approx(-2.0 - math.log(0.25 * math.sqrt(2 * math.pi)), rel=1e-12)


def test_the_smallest_probability():
    probs = torch.tensor([[1.0, 0.0], [0.75, 0.25]], dtype=DTYPE)
    wrong = torch.tensor([1, 1])
    assert nll(probs, wrong, 1e-3).item() == pytest.approx(0.5 * (math.log(1e3) + math.log(4.0)), rel=1e-12)
    assert nll(probs, wrong, 0.5).item() == pytest.approx(math.log(2.0), rel=1e-12)
