"""Means with a regression on functions of known mean: what they explain costs no error, and the rest is what it is."""

import math

import pytest
import torch

from bayeshnet.estimators.intervals.known_means import Known
from bayeshnet.estimators.intervals.quasi_random import Mean
from tests.support.oracles import DTYPE

KNOWN = Known(((lambda z: z.exp().sum(-1), Mean(2 * math.exp(0.5), 0.0), 0.0),))


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
    assert 1 < sum(x.error for x in found) / 400 / float(means.std()) < 1.3, "on the safe side, as HC3 is"


def test_few_draws_have_their_plain_mean():
    latents = blocks(0, 20)
    values = [z.sum(-1) for z in latents]
    found = KNOWN.mean(values, latents)
    assert found.value == pytest.approx(float(torch.cat(values).mean()))
    assert found.error == pytest.approx(float(torch.cat(values).std()) / math.sqrt(20))


@pytest.mark.parametrize(("subtracted", "counted"), [(0.0, 3.0), (1.0, 2.0)])
def test_errors_of_known_means_are_counted(subtracted, counted):
    """A mean that is wrong by its error moves the result by the coefficient, but for what is subtracted elsewhere."""
    latents = blocks(3)
    values = [3 * z.exp().sum(-1) + z[:, 0] for z in latents]
    means = [
        Known(((lambda z: z.exp().sum(-1), Mean(2 * math.exp(0.5) + wrong, 0.25, 20.0), subtracted),)).mean(
            values, latents
        )
        for wrong in (0.0, 0.25)
    ]
    assert means[1].value - means[0].value == pytest.approx(3 * 0.25)
    assert means[0].error == pytest.approx(counted * 0.25)
    assert means[0].dof == pytest.approx(20.0)


def test_intervals_hold_where_the_rest_grows_with_the_latent():
    inside = 0
    for seed in range(300):
        z = torch.cat(blocks(seed, 64, 3))
        noise = torch.randn(64, dtype=DTYPE, generator=torch.Generator().manual_seed(5000 + seed))
        known = Known(((lambda z: z.exp().sum(-1), Mean(3 * math.exp(0.5), 0.0), 0.0),))
        found = known.mean([z.exp().sum(-1) + z.square().sum(-1) * noise], [z])
        inside += abs(found.value - 3 * math.exp(0.5)) < found.half_width(0.95)
    assert inside >= 0.92 * 300


def test_the_error_is_that_of_leaving_out_each_draw_in_turn():
    """Least squares without the draw, by another solver: the sum of the squares of what the intercept moves by."""
    z = torch.cat(blocks(5))
    y = z.exp().sum(-1) + z[:, 0].square() * torch.randn(64, dtype=DTYPE, generator=torch.Generator().manual_seed(6))
    known = (z.exp().sum(-1) - 2 * math.exp(0.5)).unsqueeze(-1)
    design = torch.cat([torch.ones(64, 1, dtype=DTYPE), z, z.square() - 1, known], 1)

    def intercept(rows):
        return torch.linalg.lstsq(design[rows], y[rows].unsqueeze(-1)).solution[0, 0]

    whole = intercept(torch.arange(64))
    moved = torch.stack([intercept(torch.arange(64) != i) - whole for i in range(64)])
    found = KNOWN.mean([y], [z])
    assert found.value == pytest.approx(float(whole))
    assert found.error == pytest.approx(float(moved.norm()), rel=1e-8)
