"""Information that is not there: of a map that folds what quadrature says, of maps that do not fold none."""

import math
from functools import lru_cache

import pytest
import torch
from torch import nn

from bayeshnet.distributions import HypernetPosterior, SemiImplicit
from bayeshnet.estimators import AVB, LIVI, SIVI, Auto, ImportanceSandwich, StochasticLIVI, UnfoldedLIVI
from bayeshnet.estimators.intervals.excess import information_excess
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP
from tests.support.oracles import DTYPE, LinearProblem

SIGMA = 0.05
LIKE = torch.zeros(1, dtype=DTYPE)


def folded(n=1):
    """Weights |z|, so that 2^n latents give each of them."""
    return SemiImplicit(JacobianGeometry(torch.abs, n, n, like=LIKE), SIGMA)


@lru_cache
def too_much():
    """LIVI's information of |z| minus that by quadrature."""
    z = torch.linspace(-9, 9, 2001, dtype=DTYPE)
    w = torch.linspace(-1, 9, 4001, dtype=DTYPE)
    log_q = torch.logsumexp(-0.5 * z**2 - 0.5 * ((w[:, None] - z.abs()) / SIGMA) ** 2, 1) + math.log(18 / 2000)
    log_q = log_q - math.log(2 * math.pi * SIGMA)
    entropy = -float(torch.trapezoid(log_q.exp() * log_q, w))
    information = entropy - 0.5 * math.log(2 * math.pi * math.e * SIGMA**2)
    return 0.5 * math.log1p(1 / SIGMA**2) - information


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("estimator", [LIVI(), Auto(), StochasticLIVI()], ids=lambda e: type(e).__name__)
def test_a_fold_is_as_large_as_quadrature_says(estimator, n):
    found = information_excess(folded(n), estimator, generator=torch.Generator().manual_seed(0))
    assert found.value == pytest.approx(n * too_much(), abs=0.08 * n)
    assert found.error < 0.05 * n


def test_a_search_from_the_generating_latent_alone_folds_too():
    """Proposals far out see a little of the other side, so that less than log 2 is too much."""
    found = information_excess(folded(), ImportanceSandwich(), generator=torch.Generator().manual_seed(0))
    assert 0.4 < found.value < math.log(2) + 3 * found.error


def test_a_sandwich_that_finds_the_fold_has_no_excess():
    found = information_excess(folded(), ImportanceSandwich(num_starts=4), generator=torch.Generator().manual_seed(0))
    assert abs(found.value) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_a_map_that_does_not_fold_has_none(seed):
    """A small nonlinear part beside a linear one leaves the map invertible."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hnet = HMLP(
            [[6]],
            uncond_in_size=3,
            cond_in_size=0,
            num_cond_embs=0,
            layers=[8],
            verbose=False,
            linear_skip=True,
            activation_fn=nn.Tanh(),
        )  # fmt: keep
        with torch.no_grad():
            head = list(hnet.parameters())[-2]
            head[:, :8] *= 0.2
            head[:, 8:] = torch.eye(6)[:, :3] + 0.1 * torch.randn(6, 3)
        q = HypernetPosterior(hnet, sigma=0.1)()
    found = information_excess(q, LIVI(), 32, torch.Generator().manual_seed(seed))
    assert found.value < 0.05 + 3 * found.error
    assert found.error < 0.1


def test_the_barrier_counts():
    """The map (x, |y|) is folded where y < 0, in half of all draws; the smaller singular value there is that of x."""

    def fold(z):
        return torch.stack([0.5 * z[..., 0], z[..., 1].abs()], -1)

    q = SemiImplicit(JacobianGeometry(fold, 2, 2, like=LIKE), SIGMA)
    plain, unfolded = (
        information_excess(q, e, generator=torch.Generator().manual_seed(0)) for e in (LIVI(), UnfoldedLIVI())
    )
    barrier = 0.5 * math.log1p((0.5 / SIGMA) ** 2)  # half of the draws, twice half the logarithm
    assert plain.value - unfolded.value == pytest.approx(barrier, abs=4 * barrier / math.sqrt(64))


def test_other_estimators_and_maps_are_not_looked_at():
    assert information_excess(folded(), SIVI()) is None
    assert information_excess(folded(), AVB()) is None
    assert information_excess(SemiImplicit(LinearProblem.make(1, 4).geometry(affine=True), SIGMA), LIVI()) is None
