"""Mixtures of generated distributions: information by quadrature, bounds, weights by importance, shares of modes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from bayeshnet.distributions import FanInGaussian, HypernetPosterior
from bayeshnet.distributions.flat import Flat
from bayeshnet.estimators import LIVI
from bayeshnet.guides import AutoHypernet, BayesianModel, Gaussian, HypernetGuide, MixtureKL, MixturePosterior
from bayeshnet.guides.components import component_densities, log_prob_anywhere, population_weights
from bayeshnet.hnets import HMLP
from bayeshnet.inference import Annealing, fit
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE


def generator():
    return torch.Generator().manual_seed(0)


def component(center, scale, layers=()):
    """A component in one dimension; the linear one is N(center, scale^2 (1 + 0.01))."""
    torch.manual_seed(int(10 * center) % 7)
    hnet = HMLP([[1]], uncond_in_size=1, cond_in_size=0, num_cond_embs=0, layers=list(layers), verbose=False).to(DTYPE)
    posterior = HypernetPosterior(hnet, sigma=0.1 * scale, weight_spec=WeightSpec.of_shapes([[1]])).to(DTYPE)
    with torch.no_grad():
        if not layers:
            head, offset = list(hnet.params.values())[:2]
            head.fill_(scale)
            offset.fill_(center)
        else:
            list(hnet.params.values())[-1].fill_(center)
    return posterior


def mixture(centers, weights, scale=1.0, layers=()):
    posterior = MixturePosterior([component(c, scale, layers) for c in centers])
    posterior.log_weights.copy_(torch.tensor(weights, dtype=DTYPE).log())
    return posterior


GRID = torch.linspace(-25, 25, 2001, dtype=DTYPE)[:, None]
STEP = 50 / 2000


def densities(q):
    """Densities of all components on the grid, by quadrature over their latents."""
    z = torch.linspace(-9, 9, 1201, dtype=DTYPE)[:, None]
    found = []
    for part in q.components:
        h = part.geometry(z)[:, 0].detach()
        law = dist.Normal(h, part.sigma.detach())
        weight = dist.Normal(0.0, 1.0).log_prob(z[:, 0]) + math.log(18 / 1200)
        found.append(torch.cat([(law.log_prob(x) + weight).logsumexp(-1) for x in GRID.split(500)]))
    return torch.stack(found, -1)


def information(q):
    """Mutual information of component and value, by quadrature."""
    logs = densities(q)
    total = (logs + q.log_weights).logsumexp(-1, keepdim=True)
    return float((logs.exp() * q.log_weights.exp() * (logs - total)).nan_to_num(0.0).sum() * STEP)


@pytest.mark.parametrize(("centers", "weights"), [((-1.0, 1.0), (0.5, 0.5)), ((-6.0, 6.0, 7.0), (0.2, 0.3, 0.5))])
def test_information_of_linear_components_is_that_of_quadrature(centers, weights):
    q = mixture(centers, weights)()
    found = MixtureKL(LIVI()).estimate(
        q, dist.Normal(torch.zeros(1, dtype=DTYPE), 2.0).to_event(1), 20_000, generator()
    )
    expected = information(q)
    assert float(found.diagnostics["component_information"]) == pytest.approx(expected, abs=0.02)
    logs = (densities(q) + q.log_weights).logsumexp(-1)
    kl = float((logs.exp() * (logs - dist.Normal(0.0, 2.0).log_prob(GRID[:, 0]))).nan_to_num(0.0).sum() * STEP)
    assert float(found.value) == pytest.approx(kl, abs=0.04)


def test_information_of_apart_components_is_the_entropy_of_their_weights():
    q = mixture((-20.0, 0.0, 20.0), (0.2, 0.3, 0.5))()
    found = MixtureKL(LIVI()).estimate(q, Flat(1), 30, generator()).diagnostics["component_information"]
    assert float(found) == pytest.approx(-sum(p * math.log(p) for p in (0.2, 0.3, 0.5)))


def test_information_of_curved_components_is_bounded_from_below():
    q = mixture((-0.5, 0.5), (0.4, 0.6), 0.7, layers=(5,))()
    found = MixtureKL().estimate(q, Flat(1), 20_000, generator()).diagnostics["component_information"]
    assert 0.5 * information(q) < float(found) < information(q) + 0.01


def test_gradients_drive_overlapping_components_apart():
    posterior = mixture((-0.3, 0.3), (0.5, 0.5))
    MixtureKL(LIVI()).estimate(posterior(), Flat(1), 4000, generator()).surrogate.backward()
    left, right = (list(part.hnet.params.values())[1].grad for part in posterior.components)
    assert float(left) > 0 > float(right)  # descent moves the left one to the left
    step = 1e-3
    values = [information(mixture((-0.3 - s, 0.3), (0.5, 0.5))()) for s in (-step, step)]
    assert float(left) == pytest.approx((values[1] - values[0]) / (2 * step), abs=0.02)


def test_densities_at_draws_and_anywhere_are_those_of_quadrature():
    q = mixture((-1.0, 1.5), (0.4, 0.6), 0.7, layers=(5,))()
    w, lower, upper = component_densities(q, [60, 80], generator())
    assert w.shape == (140, 1)
    logs = densities(q)
    at = (w[:, 0] + 25) / STEP
    left, part = at.floor().long(), (at - at.floor())[:, None]
    logs = (1 - part) * logs[left] + part * logs[left + 1]
    for found in (lower, upper):
        near = logs > -12
        assert float((found - logs)[near].abs().mean()) < 0.1
    total = (logs + q.log_weights).logsumexp(-1)
    assert float((log_prob_anywhere(q, w, 200).detach() - total).abs().mean()) < 0.05


def test_weights_by_importance_are_those_of_the_target():
    q = mixture((-1.0, 1.0, 3.0), (1 / 3, 1 / 3, 1 / 3), 0.8)()
    _, _, logs = component_densities(q, [1500] * 3, generator())
    target = (logs + torch.tensor([0.15, 0.6, 0.25], dtype=DTYPE).log()).logsumexp(-1)
    ratios = (target - (logs.logsumexp(-1) - math.log(3))).log_softmax(0)
    found = population_weights(ratios, logs, q.log_weights, rounds=500)
    torch.testing.assert_close(found.exp(), torch.tensor([0.15, 0.6, 0.25], dtype=DTYPE), atol=0.03, rtol=0)


def test_draws_are_spread_over_the_components_by_their_weights():
    q = mixture((-20.0, 20.0), (0.3, 0.7))()
    w = q.draw(1000, generator()).w
    assert int((w < 0).sum()) in (299, 300, 301)
    assert int((w[:500] < 0).sum()) != 300  # in random order
    assert q.counts(3, generator())[1] in (2, 3)


MEANS = torch.tensor([-3.0, 3.0], dtype=DTYPE)
SHARES = torch.tensor([0.25, 0.75], dtype=DTYPE)


def two_modes():
    parts = dist.Normal(MEANS, torch.tensor([0.3, 0.6], dtype=DTYPE))
    x = pyro.sample("x", dist.Normal(torch.zeros((), dtype=DTYPE), 10.0))
    density = (parts.log_prob(x.unsqueeze(-1)) + SHARES.log()).logsumexp(-1)
    pyro.factor("likelihood", density - dist.Normal(0.0, 10.0).log_prob(x))


def set_guide():
    """A guide whose components are the modes, with equal weights."""
    torch.manual_seed(0)
    guide = AutoHypernet(two_modes, components=2, layers=(), sigma=0.1)
    guide()
    with torch.no_grad():
        for part, mean, scale in zip(guide.posterior.components, MEANS, (0.3, 0.6), strict=True):
            head, offset = list(part.hnet.params.values())[:2]
            head.fill_(scale / 1.01**0.5 / float(part.scale))
            offset.fill_(float((mean - part.loc) / part.scale))
        guide.posterior.log_weights.fill_(-math.log(2))
    return guide


def test_a_guide_finds_the_shares_of_its_modes_and_is_then_exact():
    guide = set_guide()
    assert guide.check(two_modes, generator=generator()).effective < 900
    guide.reweigh(two_modes, generator=generator())
    torch.testing.assert_close(guide.posterior.log_weights.exp(), SHARES.to(DTYPE), atol=0.02, rtol=0)
    found = guide.check(two_modes, generator=generator())
    assert found.effective > 990
    assert found.log_evidence == pytest.approx(0.0, abs=0.02)
    draws = guide.sample_posterior(1000, generator=generator())["x"]
    assert float((draws < 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    fresh = AutoHypernet(two_modes, components=2, layers=())
    fresh.load_state_dict(guide.state_dict())
    torch.testing.assert_close(fresh.posterior.log_weights, guide.posterior.log_weights)
    prior = guide.as_prior()
    value = torch.tensor(0.5, dtype=DTYPE)
    expected = (dist.Normal(MEANS, torch.tensor([0.3, 0.6])).log_prob(value) + SHARES.log()).logsumexp(-1)
    torch.testing.assert_close(prior.log_density({"x": value}), expected.to(DTYPE), atol=0.1, rtol=0)


def test_components_begin_at_different_places_and_fit_ends_with_their_weights():
    torch.manual_seed(3)
    guide = AutoHypernet(two_modes, components=3, layers=(4,), num_samples=None)
    result = fit(two_modes, guide, num_steps=3, lr=1e-9, num_particles=6, generator=generator())
    starts = [float(list(part.hnet.params.values())[-1].detach()) for part in guide.posterior.components]
    assert len(set(starts)) == 3
    assert float(guide.posterior.log_weights.exp().sum()) == pytest.approx(1.0)
    assert guide.posterior.log_weights.std() > 0
    assert result.history["loss"].isfinite().all()


@pytest.mark.slow
def test_modes_are_found_with_their_shares():
    torch.manual_seed(1)
    guide = AutoHypernet(two_modes, components=4, layers=(16,), num_samples=32)
    fit(
        two_modes,
        guide,
        num_steps=500,
        lr=0.02,
        scheduler="cosine",
        num_particles=32,
        beta=Annealing(250, 30.0),
        generator=generator(),
    )
    draws = guide.sample_posterior(4000, generator=generator())["x"]
    assert float((draws < 0).double().mean()) == pytest.approx(0.25, abs=0.05)
    assert guide.check(two_modes, generator=generator()).reliable


def test_weights_of_a_network_may_be_a_mixture():
    net = nn.Linear(1, 1)
    spec = WeightSpec.of(net)
    parts = []
    for _ in range(2):
        hnet = HMLP(spec.shapes, uncond_in_size=2, cond_in_size=0, num_cond_embs=0, layers=[4], verbose=False)
        parts.append(HypernetPosterior(hnet, scale="fan_in", weight_spec=spec))
    guide = HypernetGuide(MixturePosterior(parts), MixtureKL())
    model = BayesianModel(net, FanInGaussian(spec), Gaussian(0.5))
    x = torch.linspace(-1, 1, 8)[:, None]
    result = fit(model, guide, (x, x), num_steps=5, num_particles=4)
    assert result.history["kl"].isfinite().all()
    assert all(bool(p.grad.isfinite().all()) for p in guide.parameters() if p.grad is not None)


def test_what_is_no_mixture_is_refused():
    with pytest.raises(TypeError, match="q: expected a GeneratedMixture"):
        MixtureKL().estimate(component(0.0, 1.0)(), Flat(1))
    with pytest.raises(ValueError, match="components: expected posteriors over the same weights"):
        MixturePosterior([])
    with pytest.raises(ValueError, match="components: expected an integer >= 1"):
        AutoHypernet(two_modes, components=0)
