"""Estimators that work on weight draws may be given those of the likelihood."""

import pytest
import torch
from pyro.distributions import Laplace, Normal
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldGaussian
from bayeshnet.estimators import AVB, LIVI, SSGE
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import ImplicitELBO
from bayeshnet.mnets import MLP


def build(scale="fan_in"):
    torch.manual_seed(0)
    net = MLP(2, 1, hidden_layers=(4,), no_weights=True, verbose=False)
    hnet = HMLP(
        net.hyper_shapes_learned,
        uncond_in_size=3,
        cond_in_size=0,
        num_cond_embs=0,
        layers=[5],
        activation_fn=nn.Tanh(),
        verbose=False,
    )
    posterior = HypernetPosterior(hnet, scale=scale, weight_spec=net.weight_spec).double()
    return net, posterior, FanInGaussian(net.weight_spec, dtype=torch.float64)


def gradients(scalar, posterior):
    return torch.autograd.grad(scalar, list(posterior.parameters()), retain_graph=True)


@pytest.mark.parametrize("scale", ["fan_in", None])
def test_a_score_from_given_draws_is_that_of_drawing_them(scale):
    _, posterior, prior = build(scale)
    q = posterior()
    drawn = SSGE(6).estimate(q, prior, generator=torch.Generator().manual_seed(3))
    draw = q.draw(6, torch.Generator().manual_seed(3))
    given = SSGE(6).estimate_at(q, prior, draw)
    for a, b in zip(*(gradients(e.surrogate, posterior) for e in (drawn, given)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    assert SSGE(7).estimate_at(q, prior, draw) is None
    assert SSGE(5).estimate_at(q, prior, draw).diagnostics["width"] > 0


def test_the_cross_entropy_of_a_score_is_analytic_in_the_noise():
    """The surrogate's value is the score's zero and the cross-entropy of the generated means, in closed form."""
    _, posterior, _ = build(None)
    q, draw = posterior(), posterior().draw(5)
    prior = MeanFieldGaussian(torch.full((17,), 0.3).double(), torch.full((17,), 0.7).double())
    estimate = SSGE(5).estimate_at(q, prior, draw)
    mean = q.geometry(draw.z)
    expected = 0.5 * (((mean - 0.3) / 0.7) ** 2).sum(-1).mean()
    torch.testing.assert_close(estimate.surrogate, expected)


PRIORS = {
    "whitened": lambda fan_in: fan_in,
    "Gaussian": lambda _: MeanFieldGaussian(torch.full((17,), 0.3).double(), torch.linspace(0.5, 2, 17).double()),
    "one number": lambda _: Normal(torch.tensor(0.2).double(), torch.tensor(0.7).double()).expand([17]).to_event(1),
    "Laplace": lambda _: Laplace(torch.full((17,), 0.3).double(), torch.full((17,), 0.7).double()).to_event(1),
}


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("scale", ["fan_in", None])
def test_what_a_classifier_adds_to_its_contrast(kind, scale):
    """Value, gradient and standard error are those of the contrast's and the prior's log-densities."""
    _, posterior, fan_in = build(scale)
    q, avb, prior = posterior(), AVB((4,), 5, steps=0, contrast_draws=20), PRIORS[kind](fan_in)
    draw = q.draw(5, torch.Generator().manual_seed(1))
    estimate = avb.estimate_at(q, prior, draw, generator=torch.Generator().manual_seed(2))
    contrast = avb._contrast(q, prior, torch.Generator().manual_seed(2))
    logits = avb.discriminator((draw.w - contrast.loc) / contrast.scale).squeeze(-1)
    terms = logits + contrast.log_prob(draw.w) - prior.log_prob(draw.w)
    torch.testing.assert_close(estimate.surrogate, terms.mean())
    torch.testing.assert_close(estimate.diagnostics["standard_error"], terms.std().detach() / 5**0.5)
    torch.testing.assert_close(gradients(estimate.surrogate, posterior), gradients(terms.mean(), posterior))


def test_a_contrast_of_another_kind():
    class Wide(AVB):
        def _contrast(self, q, p, generator):
            return Normal(torch.zeros(17).double(), torch.tensor(2.0).double()).to_event(1)

    _, posterior, prior = build()
    q, avb = posterior(), Wide((4,), 5, steps=0)
    draw = q.draw(5)
    estimate = avb.estimate_at(q, prior, draw)
    ratio = avb._contrast(q, prior, None).log_prob(draw.w) - prior.log_prob(draw.w)
    torch.testing.assert_close(estimate.surrogate, (avb.discriminator(draw.w).squeeze(-1) + ratio).mean())


def test_a_classifier_is_asked_about_the_given_draws():
    _, posterior, prior = build()
    q, avb = posterior(), AVB((4,), 3, batch_size=8, steps=0, contrast_draws=0)
    draw = q.draw(5, torch.Generator().manual_seed(1))
    first = avb.estimate_at(q, prior, draw)
    logits = avb.discriminator(draw.w[:3])
    torch.testing.assert_close(first.surrogate, logits.mean())
    assert avb.estimate_at(q, prior, draw, 6) is None


def test_the_bound_hands_its_draws_on(monkeypatch):
    net, posterior, prior = build()
    model, x = BayesianModel(net, prior, Gaussian(0.1).double()), torch.randn(9, 2).double()
    guide = HypernetGuide(posterior, SSGE(4))
    taken = []
    monkeypatch.setattr(SSGE, "estimate_at", lambda self, q, p, draw, *rest: taken.append(draw.w))
    terms = ImplicitELBO(num_particles=4).terms(model, guide, x, x[:, :1])
    assert taken[0] is terms.weights
    assert LIVI().estimate_at(posterior(), prior, posterior().draw(4)) is None
