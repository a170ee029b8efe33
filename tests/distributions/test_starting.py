"""Posteriors that begin at given weights, and draws that leave as plain states."""

import pytest
import torch
from torch import nn

from bayeshnet.builders import HyperHypernetwork
from bayeshnet.distributions import (
    DiracPosterior,
    FanInGaussian,
    HypernetPosterior,
    LowRankPosterior,
    MeanFieldPosterior,
    RadialPosterior,
)
from bayeshnet.estimators import LIVI, Auto
from bayeshnet.hnets import HMLP, ChunkedHMLP
from bayeshnet.mnets import MLP, ModuleMainNet
from bayeshnet.weights import WeightSpec

DTYPE = torch.float64
NET = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).to(DTYPE)
SPEC = WeightSpec.of(NET)
TRAINED = SPEC.flatten({name: p.detach() for name, p in NET.named_parameters()})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def hypernetwork(layers, activation, cond=0):
    settings = {"num_cond_embs": 2} if cond else {}
    return HMLP(SPEC.shapes, 3, cond, layers, activation_fn=activation, verbose=False, **settings).to(DTYPE)


@pytest.mark.parametrize("scale", [None, "fan_in", 0.5])
@pytest.mark.parametrize(
    ("layers", "activation", "exact"), [((), None, True), ((8,), nn.Tanh(), True), ((8,), nn.ReLU(), False)]
)
def test_the_mean_is_the_weights_of_the_module(scale, layers, activation, exact):
    """Exactly so for affine maps and maps that are odd; in general compared with the mean of independent latents."""
    hnet = hypernetwork(layers, activation)
    if len(layers):
        with torch.no_grad():
            hnet.unconditional_params[1].zero_()  # biases of the hidden layer
    posterior = HypernetPosterior(hnet, scale=scale, weight_spec=SPEC, init=NET)
    law = posterior()
    z = torch.randn(1 if exact else 20_000, 3, dtype=DTYPE, generator=generator())
    values = law.unwhiten(law.geometry(torch.cat([z, -z])))
    error = (values.mean(0) - TRAINED).abs()
    bound = 1e-12 if exact else 5 * values.std(0) / len(values) ** 0.5 + 1e-3 * values.std(0)
    assert (error <= bound).all()


@pytest.mark.parametrize("kind", ["generated", "chunked", "without biases"])
def test_other_hypernetworks_move_by_the_constant(kind):
    """The constant of the whitening is moved where no bias of each weight is learned."""
    if kind == "generated":
        posterior = HyperHypernetwork(latent_size=3).build(SPEC).to(DTYPE)
    else:
        if kind == "chunked":
            hnet = ChunkedHMLP(SPEC.shapes, 7, uncond_in_size=3, cond_in_size=0, layers=[4], verbose=False)
        else:
            hnet = HMLP(SPEC.shapes, 3, 0, [4], use_bias=False, verbose=False)
        posterior = HypernetPosterior(hnet.to(DTYPE), weight_spec=SPEC)
    before = {name: p.clone() for name, p in posterior.named_parameters()}
    posterior.start_at(NET)
    assert all(torch.equal(p, before[name]) for name, p in posterior.named_parameters())
    law = posterior()
    z = torch.randn(20_000, 3, dtype=DTYPE, generator=generator())
    values = law.unwhiten(law.geometry(torch.cat([z, -z])))
    assert ((values.mean(0) - TRAINED).abs() <= 5 * values.std(0) / len(values) ** 0.5 + 1e-3 * values.std(0)).all()


@pytest.mark.parametrize("scale", [None, "fan_in", 0.5])
@pytest.mark.parametrize("family", [DiracPosterior, LowRankPosterior, MeanFieldPosterior, RadialPosterior])
def test_posteriors_with_learned_means_move_and_keep_their_widths(family, scale):
    posterior = family(SPEC, scale=scale).to(DTYPE)
    before = {name: p.detach().clone() for name, p in posterior.named_parameters()}
    parameters = dict(posterior.named_parameters())
    draws = [posterior.draw(50, generator()).w - posterior().mean]
    posterior.start_at(NET)
    torch.testing.assert_close(posterior().mean, TRAINED, rtol=0, atol=1e-6)  # fan-in scales are single precision
    assert all(p is parameters[name] for name, p in posterior.named_parameters())
    assert [name for name, p in posterior.named_parameters() if not torch.equal(p, before[name])] == ["mean.u"]
    draws.append(posterior.draw(50, generator()).w - posterior().mean)
    torch.testing.assert_close(*draws)
    posterior.start_at(TRAINED + 1)
    torch.testing.assert_close(posterior().mean, TRAINED + 1, rtol=0, atol=1e-6)
    for init, message in ((TRAINED[1:], "^init: expected"), (TRAINED * torch.nan, "^init: expected finite values")):
        with pytest.raises(ValueError, match=message):
            posterior.start_at(init)


def test_conditions_move_alike():
    posterior = HypernetPosterior(hypernetwork((8,), nn.Tanh(), cond=2), weight_spec=SPEC, cond_id=0)
    z = torch.randn(50, 3, dtype=DTYPE, generator=generator())
    before = [posterior(i).geometry(z) for i in (0, 1)]
    posterior.start_at(TRAINED, cond_id=1)
    moved = [posterior(i).geometry(z) - b for i, b in zip((0, 1), before, strict=True)]
    torch.testing.assert_close(moved[0], moved[1])
    away = posterior(1).geometry(torch.randn(50_000, 3, dtype=DTYPE, generator=generator(1))).mean(0) - TRAINED
    assert away.abs().max() < 2e-2


def test_the_prior_stays_whitened_and_the_divergence_is_exact():
    """A linear hypernetwork is Gaussian: the divergence at the new mean is the closed form of two Gaussians."""
    posterior = HypernetPosterior(hypernetwork((), None), scale="fan_in", weight_spec=SPEC, init=NET)
    prior = FanInGaussian(SPEC, dtype=DTYPE)
    law = posterior()
    assert prior.whitened_by(law.whitening)
    q = law.to_gaussian()
    torch.testing.assert_close(q.mean, TRAINED)
    covariance = q.factor @ q.factor.T + q.diag.diag()
    wide = torch.distributions.MultivariateNormal(q.mean, covariance)
    exact = torch.distributions.kl_divergence(
        wide, torch.distributions.MultivariateNormal(prior.mean, prior.variance.diag())
    )
    found = Auto().estimate(law, prior, 10).value
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
    assert LIVI().estimate(law, prior, 1000).value.isfinite()


@pytest.mark.parametrize("init", [NET, ModuleMainNet(NET), TRAINED, list(NET.parameters())])
def test_what_weights_may_be_given(init):
    if isinstance(init, list):  # a main network with weights of its own
        init = MLP(3, 2, [4], verbose=False).to(DTYPE)
        spec, expected = init.weight_spec, init.weight_spec.flatten(list(init.internal_params)).detach()
    else:
        spec, expected = SPEC, TRAINED
    for cls in (MeanFieldPosterior, DiracPosterior):
        torch.testing.assert_close(cls(spec, init=init)().mean.to(DTYPE), expected)


@pytest.mark.parametrize("init", [nn.Linear(3, 2), MLP(3, 2, [4], no_weights=True, verbose=False), torch.zeros(3)])
def test_other_weights_are_refused(init):
    with pytest.raises(ValueError, match=r"^init: expected"):
        HypernetPosterior(hypernetwork((), None), weight_spec=SPEC, init=init)
    with pytest.raises(ValueError, match=r"^init: expected"):
        MeanFieldPosterior(SPEC, init=init)


def test_states_are_those_of_the_users_module():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).to(DTYPE).eval()
    module[1].running_mean += 3
    posterior = HypernetPosterior(hypernetwork((8,), nn.Tanh()), scale="fan_in", weight_spec=SPEC)
    before = {name: t.clone() for name, t in module.state_dict().items()}
    states = posterior.state_dicts(module, 3, generator(5))
    weights = posterior.rsample((3,), generator(5))
    x = torch.randn(6, 3, dtype=DTYPE, generator=generator())
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).to(DTYPE).eval()
    for state, w in zip(states, weights, strict=True):
        assert list(state) == list(before)
        fresh.load_state_dict(state, strict=True)
        expected = torch.func.functional_call(module, SPEC.unflatten(w), x)
        torch.testing.assert_close(fresh(x), expected)
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert len(posterior.state_dicts(module)) == 1


def test_states_of_a_wrapped_module_have_its_statistics():
    """Chosen layers from the draws, all else as the wrapper has it now."""
    net = ModuleMainNet(NET, select="3.*", batch_norm="track", train_rest=True).train()
    net(
        torch.randn(50, 3, dtype=DTYPE, generator=generator()) + 2,
        weights=[torch.zeros(2, 4).to(DTYPE), torch.zeros(2).to(DTYPE)],
    )
    posterior = MeanFieldPosterior(net.weight_spec).to(DTYPE)
    (state,) = posterior.state_dicts(net, 1, generator(1))
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).to(DTYPE)
    fresh.load_state_dict(state, strict=True)
    fresh.eval(), net.eval()
    x = torch.randn(6, 3, dtype=DTYPE, generator=generator(2))
    w = posterior.rsample((1,), generator(1))[0]
    torch.testing.assert_close(fresh(x), net(x, weights=net.weight_spec.split(w)))
    assert not torch.equal(state["1.running_mean"], NET[1].running_mean)
