"""Searches for latents block by block: the results of a search in one piece, with bounded temporary tensors."""

from __future__ import annotations

import pytest
import torch

from bayeshnet.distributions import SemiImplicit
from bayeshnet.estimators import diagnose
from bayeshnet.estimators.intervals.mode_search import Effort, search_modes
from bayeshnet.estimators.latent_posterior import implicit_log_prob, make_proposal, row_blocks
from bayeshnet.speed import using
from tests.support.oracles import DTYPE, DenseGeometry, standard_prior

EFFORT = Effort(pool=64, starts=4, kept=8, proposals=8)
DRAWS, SIZE = 12, 3


def folded(seen=None):
    """A posterior of ``cos(z_i)``, whose modes come in mirrored pairs; ``seen`` takes the sizes of its evaluations."""

    def function(z):
        if seen is not None:
            seen.append(z[..., 0].numel())
        return torch.cos(z)

    return SemiImplicit(DenseGeometry(function, SIZE, SIZE), 0.1)


def search(q):
    generator = torch.Generator().manual_seed(1)
    u = torch.cos(torch.randn(DRAWS, SIZE, dtype=DTYPE, generator=generator)) + 0.05
    return search_modes(q, u, EFFORT, generator)


@pytest.mark.parametrize("block", [1, 200, 1000])
def test_blocks_find_what_one_piece_finds(block):
    whole = search(folded())
    assert int(torch.isfinite(whole.log_density).sum(-1).min()) > 1
    latents = torch.randn(DRAWS, 5, SIZE, dtype=DTYPE, generator=torch.Generator().manual_seed(2))
    proposal, densities = make_proposal(whole.found), whole.log_density_at(latents)
    with using(search_block=block):
        parts = search(folded())
        for name in ("latents", "roots", "log_density", "residual"):
            torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(parts.log_density_at(latents), densities, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(make_proposal(parts.found).log_prob(latents), proposal.log_prob(latents))


def test_no_more_is_evaluated_at_once_than_fits():
    """Images of modes are the most: seven for each of two modes of a weight vector."""
    sizes = {}
    for block in (2**25, 14 * SIZE):
        seen = []
        with using(search_block=block):
            search(folded(seen))
        sizes[block] = max(seen)
    assert sizes[2**25] >= DRAWS * 14
    assert sizes[14 * SIZE] <= EFFORT.pool  # the pool is compared as a whole


@pytest.mark.slow
def test_densities_and_diagnoses_are_the_same():
    q, p = folded(), standard_prior(SIZE)
    w = torch.rand(DRAWS, SIZE, dtype=DTYPE, generator=torch.Generator().manual_seed(3))
    found = []
    for block in (2**25, 50):
        with using(search_block=block):
            report = diagnose(q, p, 16, torch.Generator().manual_seed(0), quick=True)
            density = implicit_log_prob(q, w, generator=torch.Generator().manual_seed(0))
        found.append([torch.tensor([report.value, report.lower, report.upper]), density])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)
    assert implicit_log_prob(q, w[:0]).shape == (0,)


@pytest.mark.parametrize(("rows", "entries"), [(7, 3), (7, 100), (1, 1), (12, 4), (0, 4)])
def test_blocks_hold_all_rows_once(rows, entries):
    with using(search_block=12):
        blocks = list(row_blocks(rows, entries))
    assert [i for block in blocks for i in range(rows)[block]] == list(range(rows))
    assert all(len(range(rows)[block]) * entries <= max(12, entries) for block in blocks)
