"""Means with a regression on functions of known mean: what they explain costs no error, and the rest is what it is."""

import math

import pytest
import torch

from bayeshnet.estimators.intervals.known_means import Known
from tests.support.oracles import DTYPE

KNOWN = Known(((lambda z: z.exp().sum(-1), 2 * math.exp(0.5)),))


def blocks(seed, num=64, size=2):
    z = torch.randn(num, size, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))
    return list(z.split(32))


def test_what_is_explained_has_no_error():
    latents = blocks(0)
    found = KNOWN.mean([3 + z[:, 0] - 2 * z[:, 1].square() + 0.5 * z.exp().sum(-1) for z in latents], latents)
    assert found.value == pytest.approx(3 - 2 + math.exp(0.5))
    assert found.error < 1e-10
    assert found.dof == 64 - 6


def test_the_standard_error_is_that_of_many_repetitions():
    """Of values with noise of deviation one half, the mean has an error of 0.5 / 8, and a little for the regression."""
    found = []
    for seed in range(400):
        latents = blocks(seed)
        noise = torch.Generator().manual_seed(1000 + seed)
        values = [z.exp().sum(-1) + 0.5 * torch.randn(len(z), dtype=DTYPE, generator=noise) for z in latents]
        found.append(KNOWN.mean(values, latents))
    means = torch.tensor([x.value for x in found])
    assert float(means.mean()) == pytest.approx(2 * math.exp(0.5), abs=4 * 0.0625 / 20)
    assert float(means.std()) == pytest.approx(0.0625, rel=0.2)
    assert sum(x.error for x in found) / 400 == pytest.approx(0.0625, rel=0.05)


def test_few_draws_have_their_plain_mean():
    latents = blocks(0, 20)
    values = [z.sum(-1) for z in latents]
    found = KNOWN.mean(values, latents)
    assert found.value == pytest.approx(float(torch.cat(values).mean()))
    assert found.error == pytest.approx(float(torch.cat(values).std()) / math.sqrt(20))
