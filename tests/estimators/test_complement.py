"""A lower bound of the KL to another hypernetwork: the closed form across its span, and never above the KL."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from bayeshnet.distributions import SemiImplicit
from bayeshnet.distributions.semi_implicit import total
from bayeshnet.estimators import kl_interval
from bayeshnet.estimators.intervals.complement import complement_kl
from bayeshnet.geometry import EmbeddedGeometry
from bayeshnet.hnets import HMLP, ChunkedHMLP
from bayeshnet.weights import Whitening
from tests.support.oracles import DTYPE, LinearProblem

WEIGHTS = 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*size, seed):
    return torch.randn(*size, dtype=DTYPE, generator=generator(seed))


def generated(seed, latents=2, layers=(), num=WEIGHTS, shift=0.0):
    """The geometry of a random perceptron."""
    hnet = HMLP(
        [[num]],
        uncond_in_size=latents,
        cond_in_size=0,
        num_cond_embs=0,
        layers=layers,
        verbose=False,
        activation_fn=torch.nn.Tanh(),
    ).double()
    with torch.no_grad():
        for i, parameter in enumerate(hnet.unconditional_params):
            parameter.copy_(normal(*parameter.shape, seed=100 * seed + i))
        hnet.unconditional_params[-1].add_(shift)
    return hnet.geometry()


def noise(per_weight, seed):
    return normal(WEIGHTS, seed=seed).exp() if per_weight else torch.tensor(0.7, dtype=DTYPE) + 0.1 * seed


def gaussian(q):
    """The weights of an affine map as a dense Gaussian."""
    zero = torch.zeros(q.latent_size, dtype=DTYPE)
    matrix = q.scale.expand(WEIGHTS).diag() @ q.geometry.rows(zero)
    noise = ((q.scale * q.sigma) ** 2).expand(WEIGHTS).diag()
    return MultivariateNormal(q.unwhiten(q.geometry(zero)), matrix @ matrix.mT + noise), matrix


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("whitened", [False, True])
def test_of_linear_maps_it_is_the_kl_of_gaussians_across_the_span(own, other, whitened):
    """The span is left by the null space of the transposed head, in any basis."""
    whitening = Whitening(normal(WEIGHTS, seed=8), normal(WEIGHTS, seed=9).exp()) if whitened else None
    with torch.no_grad():
        q, p = SemiImplicit(generated(1), noise(own, 1)), SemiImplicit(generated(2), noise(other, 2), whitening)
        (ours, _), (theirs, matrix) = gaussian(q), gaussian(p)
        across = torch.linalg.svd(matrix)[0][:, 2:].mT  # (10, 12)
        parts = [MultivariateNormal(across @ x.mean, across @ x.covariance_matrix @ across.mT) for x in (ours, theirs)]
    found = complement_kl(q, p, 0.01, 0.95, generator())
    assert found.value == pytest.approx(float(kl_divergence(*parts)), rel=1e-6)
    assert found.value < float(kl_divergence(ours, theirs))


def exact_kl(q, p):
    """The KL of maps of one latent: both densities by integrals on a grid, the mean by many draws, and its error."""
    z = torch.linspace(-6, 6, 1201, dtype=DTYPE)[:, None]
    with torch.no_grad():
        w = q.draw(1000, generator(5)).w
        sides = []
        for x in (q, p):
            distance = torch.cdist(w / x.sigma, x.geometry(z) / x.sigma).square()
            sides.append(torch.logsumexp(-0.5 * distance - 0.5 * z.square().mT, 1) - total(x.sigma.log(), WEIGHTS))
        ratio = sides[0] - sides[1]
    return float(ratio.mean()), float(ratio.std()) / math.sqrt(len(w))


@pytest.mark.parametrize(("sigma", "shift", "least"), [(0.5, 0.5, 0.5), (1.0, 4.0, 0.75), (0.5, 0.0, 0.3)])
def test_it_is_below_the_kl_and_most_of_it_for_a_large_move(sigma, shift, least):
    q = SemiImplicit(generated(3, 1, (3,)), sigma)
    p = SemiImplicit(generated(4, 1, (3,), shift=shift), 1.1 * sigma)
    truth, error = exact_kl(q, p)
    found = complement_kl(q, p, 0.2, 0.95, generator(), 64, quick=True)
    assert found.value < truth + 3 * (error + found.error)
    assert found.value > least * truth
    assert found.error < 0.2 + 0.01 * truth


@pytest.mark.parametrize("per_weight", [False, True])
def test_the_interval_contains_the_kl_of_a_large_move(per_weight):
    """Few draws make the interval narrow, as what lies across the span is a mean over latents."""
    q = SemiImplicit(generated(3, 1, (3,)), noise(per_weight, 1))
    p = SemiImplicit(generated(4, 1, (3,), shift=4.0), 0.9)
    truth, error = exact_kl(q, p)
    found = kl_interval(q, p, 64, quick=True, generator=generator())
    assert found.lower - 3 * error < truth < found.upper + 3 * error
    assert found.at_least < found.lower + 0.1
    assert found.width < 0.05 * truth


def test_of_an_unchanged_posterior_it_is_zero():
    q = SemiImplicit(generated(3, 3, (4,)), 0.2)
    found = complement_kl(q, q, 0.2, 0.95, generator(), 64, quick=True)
    assert found.value == pytest.approx(0, abs=0.05)
    assert found.value < 3 * found.error


def test_weights_that_are_constantly_zero_count():
    """All that is outside of the places is noise of two widths, whose KL is a closed form."""
    places = torch.arange(6)
    q, p = (SemiImplicit(EmbeddedGeometry(generated(5, num=6), places, WEIGHTS), sigma) for sigma in (0.5, 1.0))
    found = complement_kl(q, p, 0.01, 0.95, generator())
    assert found.value == pytest.approx(0.5 * 10 * (0.25 - 1 + math.log(4)))  # 12 weights without a span of 2


def test_there_is_none_without_one_head_with_fewer_columns_than_weights():
    q = SemiImplicit(generated(3), 0.2)
    wide = SemiImplicit(generated(3, layers=(WEIGHTS,)), 0.2)
    function = LinearProblem.make(2, WEIGHTS).q()
    chunks = ChunkedHMLP(
        [[WEIGHTS]], chunk_size=4, chunk_emb_size=2, uncond_in_size=2, cond_in_size=0, num_cond_embs=0, verbose=False
    )
    several = SemiImplicit(chunks.double().geometry(), 0.2)
    for pair in ((q, wide), (q, function), (function, q), (q, several), (several, q)):
        assert complement_kl(*pair, 0.05, 0.95, generator()) is None
