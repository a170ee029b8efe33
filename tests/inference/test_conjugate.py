"""Linear regression with known noise: posterior, evidence and predictions of guides against the closed form."""

import math

import pytest
import torch

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldGaussian
from bayeshnet.guides import AutoHypernet, HypernetGuide, LowRankGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import ImplicitELBO, Predictive, fit
from tests.support.inference_conjugate import NOISE, conjugate
from tests.support.oracles import DTYPE


def linear_hypernet(model):
    shapes = [list(s) for s in model.weight_spec.shapes]
    hnet = HMLP(shapes, uncond_in_size=3, cond_in_size=0, num_cond_embs=0, layers=[], verbose=False)
    return HypernetGuide(HypernetPosterior(hnet.to(DTYPE), sigma=0.01, weight_spec=model.weight_spec))


GUIDES = {
    "hypernetwork": linear_hypernet,
    "low rank": lambda model: LowRankGuide(model.net, rank=3, sigma=0.05).to(DTYPE),
    "automatic": lambda model: AutoHypernet(model, layers=(), num_samples=2),
    "automatic, curved": lambda model: AutoHypernet(model, layers=(16,), num_samples=32),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * k.startswith(("auto", "low"))) for k in GUIDES]
)
def test_posterior_evidence_and_predictions_are_the_closed_form(kind):
    """All guides can hold the Gaussian posterior, so the bound becomes the evidence and their law the posterior."""
    model, batch, design, mean, covariance, evidence = conjugate()
    torch.manual_seed(0)
    guide = GUIDES[kind](model)
    if isinstance(guide, AutoHypernet):
        guide(*batch)
    fit(
        model,
        guide,
        batch,
        num_steps=1200 if kind.startswith("auto") else 500,
        lr=0.03,
        scheduler="cosine",
        num_particles=32,
        generator=torch.Generator().manual_seed(0),
    )
    with torch.no_grad():
        w = guide.distribution().draw(20_000, torch.Generator().manual_seed(1)).w
        bounds = [ImplicitELBO(num_particles=2000, num_samples=500).loss(model, guide, *batch) for _ in range(5)]
    assert -torch.tensor(bounds).mean().item() == pytest.approx(evidence.item(), abs=0.06)
    scale = covariance.diagonal().sqrt()
    assert ((w.mean(0) - mean).abs() / scale).max() < 0.08
    assert ((w.T.cov() - covariance).abs() / (scale[:, None] * scale)).max() < 0.12
    if not isinstance(guide, AutoHypernet):
        result = Predictive(guide, model.net, model.likelihood, num_samples=20_000)(batch[0])
        torch.testing.assert_close(result.mean[:, 0], design @ mean, atol=0.02, rtol=0)
        variance = ((design @ covariance) * design).sum(1)
        torch.testing.assert_close(result.epistemic, variance, rtol=0.15, atol=0)
        torch.testing.assert_close(result.total, variance + NOISE**2, rtol=0.03, atol=0)


def test_the_bound_never_exceeds_the_evidence():
    """At any guide, here the prior itself, whose bound is an expectation known in closed form."""
    model, (x, y), design, _, _, evidence = conjugate()
    guide = LowRankGuide(model.net, rank=1, init=torch.zeros(3), init_std=1e-6, sigma=1.5).to(DTYPE)
    expected = -0.5 * ((y.square().sum() + 1.5**2 * (design**2).sum()) / NOISE**2) - 20 * (
        math.log(NOISE) + 0.5 * math.log(2 * math.pi)
    )
    with torch.no_grad():
        bounds = torch.tensor([-ImplicitELBO(num_particles=5000).loss(model, guide, x, y) for _ in range(8)])
    assert (bounds.mean() - expected).abs() < 5 * bounds.std() / 8**0.5
    assert expected < evidence
    assert isinstance(model.prior, MeanFieldGaussian)
    assert FanInGaussian(model.weight_spec).event_shape == (3,)
