"""Posteriors of few numbers in place of many weights: distances, Gram matrices and information are the same."""

import pytest
import torch

from bayeshnet.distributions import SemiImplicit
from bayeshnet.estimators import LIVI, kl_interval
from bayeshnet.estimators.diagnostics.audit import _sivi_latents
from bayeshnet.estimators.intervals.excess import information_excess
from bayeshnet.estimators.intervals.information import exact_information
from bayeshnet.estimators.intervals.reduced import reduced
from bayeshnet.geometry import EmbeddedGeometry, HeadGeometry, JacobianGeometry
from bayeshnet.hnets import HMLP, ChunkedHMLP
from tests.support.oracles import DTYPE, LinearProblem, standard_prior

WEIGHTS, LATENTS = 60, 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(kind, num=WEIGHTS, layers=(7,)):
    """A geometry of ``num`` weights: of one head, of a head for three chunks, or at some places among zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        shared = {"uncond_in_size": LATENTS, "cond_in_size": 0, "num_cond_embs": 0, "verbose": False}
        if kind == "chunks":
            hnet = ChunkedHMLP([[num]], chunk_size=20, chunk_emb_size=4, layers=layers, **shared)
        else:
            hnet = HMLP([[num]], layers=layers, activation_fn=torch.nn.Tanh(), **shared)
        hnet = hnet.double()
        with torch.no_grad():
            for parameter in hnet.parameters():
                parameter.normal_(std=0.5)
        if kind == "places":
            return EmbeddedGeometry(hnet.geometry(), torch.randperm(num + 9)[:num], num + 9)
        return hnet.geometry()


def noises(num, per_weight):
    return 0.1 + torch.rand(num, dtype=DTYPE, generator=generator(5)) if per_weight else 0.3


@pytest.mark.parametrize(
    ("kind", "per_weight", "size"),
    [("one", False, 7), ("one", True, 7), ("chunks", False, 21), ("places", False, 7), ("places", True, 7)],
)
def test_inner_products_and_gram_matrices_are_those_of_all_weights(kind, per_weight, size):
    """In units of the noise; they are all that the noise sees of a map, as it is the same in each direction."""
    geometry = made(kind)
    q = SemiImplicit(geometry, noises(geometry.num_weights, per_weight))
    small = reduced(q)
    assert small.geometry.num_weights == size
    assert small.latent_size == LATENTS
    draw = q.draw(4, generator(1))
    z = torch.randn(4, 6, LATENTS, dtype=DTYPE, generator=generator(2))

    shift = (geometry(draw.z.unsqueeze(1)) - geometry(z)) / q.sigma
    moved = small.geometry(draw.z.unsqueeze(1)) - small.geometry(z)
    torch.testing.assert_close(moved.square().sum(-1), shift.square().sum(-1))
    torch.testing.assert_close(moved @ moved.mT, shift @ shift.mT)
    jacobian = geometry.rows(z) / (q.sigma.unsqueeze(-1) if q.sigma.ndim else q.sigma)
    torch.testing.assert_close(small.geometry.gram(z, small.sigma**-2), jacobian.mT @ jacobian)
    assert float(small.sigma) == 1


def test_what_is_no_smaller_is_returned_as_it_is():
    few = SemiImplicit(made("one", 6), 0.3)
    single = SemiImplicit(HeadGeometry(made("one").body, torch.randn(60, 7), None, 60), 0.3)
    uneven = SemiImplicit(made("chunks", 55), 0.3)
    own = SemiImplicit(made("chunks"), noises(WEIGHTS, True))
    function = LinearProblem.make(2, 40).q()
    for q in (few, single, uneven, own, function):
        assert reduced(q) is q


def test_an_affine_map_keeps_its_information():
    q = SemiImplicit(made("one", layers=()), noises(WEIGHTS, True))
    small = reduced(q)
    assert small.geometry.is_affine
    with torch.no_grad():
        few, many = (exact_information(x).lower.value for x in (small, q))
    assert few == pytest.approx(many, rel=1e-12)


@pytest.mark.slow
def test_intervals_of_a_map_and_of_the_same_map_as_a_function_agree():
    """A function has no head that is known, so that all its weights are used."""
    q = SemiImplicit(made("one"), 0.3)
    other = SemiImplicit(JacobianGeometry(q.geometry, LATENTS, WEIGHTS, like=q.sigma), 0.3)
    assert reduced(other) is other
    prior = standard_prior(WEIGHTS)
    one, two = (kl_interval(x, prior, 64, quick=True, generator=generator(seed)) for seed, x in enumerate((q, other)))
    assert one.verdict == two.verdict == "trusted"
    assert one.value == pytest.approx(two.value, abs=0.5 * (one.width + two.width))
    assert max(one.width, two.width) < 0.5


@pytest.mark.parametrize(("kind", "num", "latents"), [("one", 100_000, 1000), ("f", 2000, 1000), ("f", 100_000, 20)])
def test_the_weights_of_all_latents_fit_into_memory(kind, num, latents):
    """Of 64 draws with 20 latents each, of 100,000 weights, there are 2**27 numbers; a head needs none of them."""
    like = torch.zeros(1, dtype=DTYPE)
    geometry = made("one", num) if kind == "one" else JacobianGeometry(lambda z: z.repeat(1, num), 1, num, like=like)
    assert _sivi_latents(SemiImplicit(geometry, 0.3), 64) == latents


def test_a_map_to_many_weights_is_searched_on_as_many_draws_as_asked_for():
    """Of 64 draws the standard error is an eighth of the deviation, with 63 degrees of freedom."""
    found = information_excess(SemiImplicit(made("one", 20_000), 0.3), LIVI(), 64, generator())
    assert found.dof == 63
