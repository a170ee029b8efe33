"""Posteriors and priors of different precision, and estimators that are used for posteriors of one after the other."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, LowRankGaussian, embed
from bayeshnet.estimators import AVB, IWHVI, LIVI, SSGE, Auto, ImportanceSandwich, MonteCarlo, NuMethod, Stein
from bayeshnet.hnets import HMLP
from bayeshnet.weights import WeightSpec

SPEC = WeightSpec.of_shapes([[3], [1]])


def posterior(dtype, sigma=0.3):
    torch.manual_seed(0)
    hnet = HMLP([[3], [1]], 2, 0, layers=[5], activation_fn=torch.nn.Tanh(), num_cond_embs=0, verbose=False)
    return HypernetPosterior(hnet.to(dtype), sigma=sigma, scale="fan_in", weight_spec=SPEC)()


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("make", [lambda: IWHVI(8, 4), lambda: AVB((8,), 16)], ids=["IWHVI", "AVB"])
def test_a_learned_model_is_made_anew_for_another_precision(make):
    estimator = make()
    for dtype in (torch.float32, torch.float64, torch.float32):
        prior = FanInGaussian(SPEC, dtype=dtype)
        found = estimator.estimate(posterior(dtype), prior, generator=generator())
        assert found.surrogate.dtype == dtype
        torch.testing.assert_close(found.value, make().estimate(posterior(dtype), prior, generator=generator()).value)


@pytest.mark.parametrize("estimator", [Auto(), LIVI(), ImportanceSandwich(8), SSGE(16), MonteCarlo(8)])
def test_a_prior_that_is_a_hypernetwork_may_have_another_precision(estimator):
    values = []
    for dtype in (torch.float64, torch.float32):
        q = FanInGaussian(SPEC, dtype=torch.float64) if isinstance(estimator, MonteCarlo) else posterior(torch.float64)
        found = estimator.estimate(q, posterior(dtype, 0.5), generator=generator())
        values.append(found.surrogate.detach())
    assert values[0].dtype == values[1].dtype == torch.float64
    # Other latents are drawn for the search in single precision, so that the two are equal within its noise alone.
    torch.testing.assert_close(*values, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("estimator", [SSGE(16), Stein(16), NuMethod(16)])
def test_a_prior_that_is_a_hypernetwork_is_searched_with_the_generator_given(estimator):
    q, p = posterior(torch.float64), posterior(torch.float64, 0.5)
    before = torch.get_rng_state()
    first, second = (estimator.estimate(q, p, generator=generator()).surrogate for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "make", [lambda: IWHVI(8, 4, steps=2, num_flows=1), lambda: AVB((8,), 16)], ids=["IWHVI", "AVB"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_state_of_a_learned_model_can_be_loaded(make, dtype):
    """Into an estimator that has none yet, or one of another size; the next estimate without training is the same."""
    q, prior = posterior(dtype), FanInGaussian(SPEC, dtype=dtype)
    trained, new, used = make(), make(), make()
    empty = new.state_dict()
    trained.estimate(q, prior, generator=generator())
    wide = (
        torch.distributions.Independent(torch.distributions.Normal(torch.zeros(7), 1.0), 1)
        if isinstance(used, AVB)
        else None
    )
    if wide is not None:
        used.train_discriminator(wide, wide, 1, generator())
    before = torch.get_rng_state()
    trained.steps = 0
    expected = trained.estimate(q, prior, generator=generator()).value
    for estimator in (new, used):
        estimator.load_state_dict(trained.state_dict())
        estimator.steps = 0
        assert torch.equal(estimator.estimate(q, prior, generator=generator()).value, expected)
    assert torch.equal(torch.get_rng_state(), before)
    trained.load_state_dict(empty)
    assert list(trained.state_dict()) == []


@pytest.mark.parametrize("make", [lambda: IWHVI(8, 4, steps=2), lambda: AVB((8,), 16)], ids=["IWHVI", "AVB"])
def test_a_state_of_another_precision_is_loaded_into_a_learned_model(make):
    trained, other = make(), make()
    for estimator, dtype in ((trained, torch.float32), (other, torch.float64)):
        estimator.estimate(posterior(dtype), FanInGaussian(SPEC, dtype=dtype), generator=generator())
        estimator.steps = 0
    other.load_state_dict(trained.state_dict())
    q, prior = posterior(torch.float64), FanInGaussian(SPEC, dtype=torch.float64)
    found = other.estimate(q, prior, generator=generator()).value
    expected = trained.double().estimate(q, prior, generator=generator()).value
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


WIDE = WeightSpec.of_shapes([[4], [1]])
ROOT = torch.eye(5, dtype=torch.float64) + 0.3 * torch.randn(5, 5, dtype=torch.float64, generator=generator()).tril(-1)
CORRELATED = [
    MultivariateNormal(torch.ones(5, dtype=torch.float64), scale_tril=ROOT),
    LowRankGaussian(torch.ones(5, dtype=torch.float64), ROOT[:, :1], torch.full((5,), 0.5, dtype=torch.float64)),
]


@pytest.mark.parametrize("prior", CORRELATED, ids=["full", "low rank"])
@pytest.mark.parametrize("estimator", [LIVI(8), ImportanceSandwich(8), SSGE(16), Auto(8)])
def test_a_posterior_that_is_embedded_in_higher_precision_has_the_kl_of_that(prior, estimator):
    """Latents are drawn in the precision of the map, so that noise alone tells the two apart."""
    places, values = torch.tensor([0, 1, 2, 4]), []
    for dtype in (torch.float32, torch.float64):
        q = embed(posterior(dtype), places, FanInGaussian(WIDE, dtype=torch.float64))
        torch.manual_seed(0)
        found = [estimator.estimate(q, prior, num_samples=256, generator=None).surrogate.detach() for _ in range(4)]
        values.append(torch.stack(found).double())
    scale = (values[0].var() / 4 + values[1].var() / 4).sqrt()
    assert float((values[0].mean() - values[1].mean()).abs()) < 5 * float(scale) + 0.02
