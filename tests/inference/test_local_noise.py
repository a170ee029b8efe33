"""Local reparameterization: the expectation of noise in weight space, less variance, and where it does not apply."""

import pytest
import torch
from torch import nn

from bayeshnet.distributions import (
    FanInGaussian,
    LowRankPosterior,
    MeanFieldGaussian,
    MeanFieldPosterior,
    RadialPosterior,
)
from bayeshnet.estimators import LIVI
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.inference import ImplicitELBO, fit
from bayeshnet.inference.bound.local_noise import _local_names, independent_outputs, local_outputs
from bayeshnet.mnets import MLP, ModuleMainNet, OutputView
from tests.support.guide_toys import ToyPosterior, data, gradients_of, regression, small_net
from tests.support.oracles import DTYPE

POSTERIORS = {
    "hypernetwork": lambda spec: ToyPosterior(spec, sigma=0.4),
    "mean field": lambda spec: MeanFieldPosterior(spec, sigma=0.4).to(DTYPE),
    "low rank": lambda spec: LowRankPosterior(spec, rank=2, sigma=0.4).to(DTYPE),
}


@pytest.mark.parametrize("family", POSTERIORS)
def test_outputs_have_the_moments_of_noise_in_weight_space(family):
    """Mean and variance at each input over many draws, two layers deep."""
    net = small_net()
    q = POSTERIORS[family](net.weight_spec)()
    x = data(N=3)[0]
    with torch.no_grad():
        draw = q.draw(2000, torch.Generator().manual_seed(0))
        ours = local_outputs(net, q, draw, x, torch.Generator().manual_seed(1))
        if family == "mean field":
            quick = independent_outputs(net, q, 2000, x, torch.Generator().manual_seed(1))
            torch.testing.assert_close(quick.mean(0), ours.mean(0), atol=5 * float(ours.std()) * 2000**-0.5, rtol=0)
            torch.testing.assert_close(quick.var(0), ours.var(0), atol=0, rtol=0.2)
        theirs = torch.stack([net(x, weights=net.weight_spec.split(w)) for w in draw.w])
    for power in (1, 2):
        a, b = ours**power, theirs**power
        error = ((a.var(0) + b.var(0)) / 2000).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"hidden_layers": ()}, {"n_out": 3}])
def test_independent_noise_is_that_of_one_sample_at_a_time(options):
    """The samples of one pass, value and gradient, against a plain forward pass per sample with the same noise."""
    settings = {"n_in": 2, "n_out": 1, "hidden_layers": (3, 4), "activation_fn": nn.Tanh(), **options}
    net = MLP(**settings, no_weights=True, verbose=False)
    posterior, x = MeanFieldPosterior(net.weight_spec, sigma=0.4).to(DTYPE), data(N=5)[0]
    ours = independent_outputs(net, posterior(), 6, x, torch.Generator().manual_seed(2))
    q, generator, h = posterior(), torch.Generator().manual_seed(2), [x] * 6
    step = 1 if options.get("use_bias") is False else 2
    tensors = [list(net.weight_spec.split(v)) for v in (q.loc, q.scale)]
    for i in range(0, len(tensors[0]), step):
        weight, std = (t[i] for t in tensors)
        bias, spread = (t[i + 1] if step == 2 else torch.zeros(len(weight), dtype=DTYPE) for t in tensors)
        eps = torch.randn(6, 5, len(weight), dtype=DTYPE, generator=generator)
        before = [(a @ weight.T + bias, (a**2 @ std.T**2 + spread**2).sqrt()) for a in h]
        last = i + step == len(tensors[0])
        h = [(m + s * e) if last else (m + s * e).tanh() for (m, s), e in zip(before, eps, strict=True)]
    theirs = torch.stack(h)
    torch.testing.assert_close(ours, theirs)
    found, wanted = (gradients_of(out.square().sum(), posterior) for out in (ours, theirs))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"hidden_layers": ()}, {"n_out": 3}])
def test_samples_of_a_hypernetwork_in_one_pass_are_those_of_one_at_a_time(options):
    """Each sample has means of its own, from its latent: value and gradient against a plain pass per sample."""
    settings = {"n_in": 2, "n_out": 1, "hidden_layers": (3, 4), "activation_fn": nn.Tanh(), **options}
    net = MLP(**settings, no_weights=True, verbose=False)
    posterior, x = ToyPosterior(net.weight_spec, sigma=0.4), data(N=5)[0]
    z = torch.randn(6, 2, dtype=DTYPE)
    q = posterior()
    draw = q.place(z, torch.randn(6, net.weight_spec.numel, dtype=DTYPE))
    ours = local_outputs(net, q, draw, x, torch.Generator().manual_seed(2))
    hidden = (z @ posterior.W1.T + posterior.c[0]).tanh()
    means = net.weight_spec.split(hidden @ posterior.W2.T + posterior.b)
    sigma, generator, h = posterior.log_sigma.exp(), torch.Generator().manual_seed(2), [x] * 6
    step = 1 if options.get("use_bias") is False else 2
    for i in range(0, len(means), step):
        eps = torch.randn(6, 5, means[i].shape[1], dtype=DTYPE, generator=generator)
        biases = means[i + 1] if step == 2 else torch.zeros(6, 1, dtype=DTYPE)
        made = [
            a @ weight.T + bias + sigma * (a.square().sum(1, keepdim=True) + step - 1).sqrt() * e
            for a, weight, bias, e in zip(h, means[i], biases, eps, strict=True)
        ]
        h = made if i + step == len(means) else [m.tanh() for m in made]
    theirs = torch.stack(h)
    torch.testing.assert_close(ours, theirs)
    found, wanted = (gradients_of(out.square().sum(), posterior) for out in (ours, theirs))
    torch.testing.assert_close(found, wanted)


def test_independent_noise_is_for_independent_weights_of_linear_layers_only():
    x = data(N=3)[0]
    for net in (
        MLP(2, 1, hidden_layers=(3,), use_batch_norm=True, no_weights=True, verbose=False),
        MLP(2, 1, hidden_layers=(3,), dropout_rate=0.5, no_weights=True, verbose=False),
        MLP(2, 1, hidden_layers=(3,), out_fn=nn.Sigmoid(), no_weights=True, verbose=False),
        MLP(2, 1, hidden_layers=(3,), activation_fn=lambda x: x - x.mean(), no_weights=True, verbose=False),
        ModuleMainNet(nn.Linear(2, 1)),
    ):
        assert independent_outputs(net, MeanFieldPosterior(net.weight_spec).to(DTYPE)(), 2, x) is None
    net = small_net()
    assert independent_outputs(net, ToyPosterior(net.weight_spec)(), 2, x) is None
    assert independent_outputs(net, LowRankPosterior(net.weight_spec).to(DTYPE)(), 2, x) is None
    view = OutputView(small_net(n_out=3), 1, 3)
    assert independent_outputs(view, MeanFieldPosterior(view.weight_spec).to(DTYPE)(), 2, x).shape == (2, 3, 2)


def test_one_linear_layer_is_exact():
    """Of a linear network, the pre-activation given the latent has the mean and variance of the formula."""
    net = ModuleMainNet(nn.Linear(3, 2))
    q = POSTERIORS["mean field"](net.weight_spec)()
    x = torch.randn(4, 3, dtype=DTYPE)
    draw = q.draw(4000)
    outputs = local_outputs(net, q, draw, x).detach()
    mean = net(x, weights=net.weight_spec.split(q.loc)).detach()
    scale = net.weight_spec.unflatten(q.scale.detach())
    variance = x.square() @ scale["weight"].square().T + scale["bias"].square()
    torch.testing.assert_close(outputs.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(outputs.var(0), variance, rtol=0.12, atol=0)
    correlation = torch.corrcoef((outputs - outputs.mean(0))[:, :, 0].T)
    assert (correlation - torch.eye(4, dtype=DTYPE)).abs().max() < 0.08


def test_the_loss_is_the_same_on_average_and_its_gradient_has_less_variance():
    model, guide = regression(num_data=120, sigma=0.4)
    x, y = data(N=60)
    model = BayesianModel(model.net, model.prior, Gaussian(torch.tensor(1.0, dtype=DTYPE)), 120)

    def runs(local, seeds):
        rows = []
        for seed in seeds:
            torch.manual_seed(seed)
            loss = ImplicitELBO(LIVI(), 8, 8, beta=0.0, local_noise=local).differentiable_loss(model, guide, x, y)
            rows.append(torch.cat([loss.detach().reshape(1), gradients_of(loss, guide)]))
        return torch.stack(rows)

    ours, theirs = runs(True, range(50)), runs(False, range(100, 150))
    gap, error = ours.mean(0) - theirs.mean(0), ((ours.var(0) + theirs.var(0)) / 50).sqrt()
    assert (gap.abs() < 5 * error + 1e-9).all()
    assert ours[:, -1].var() < 0.5 * theirs[:, -1].var()


class Mixed(nn.Module):
    """A layer used twice, a norm, a linear layer on sequences, and one ordinary linear layer."""

    def __init__(self):
        super().__init__()
        self.twice, self.norm, self.sequence, self.once = (
            nn.Linear(4, 4),
            nn.LayerNorm(4),
            nn.Linear(4, 4),
            nn.Linear(4, 2),
        )

    def forward(self, x):
        x = self.norm(self.twice(self.twice(x)))
        return self.once(self.sequence(x.unsqueeze(1))[:, 0])


def test_noise_is_local_only_where_that_is_exact():
    net = ModuleMainNet(Mixed())
    flat = torch.randn(net.weight_spec.numel)
    assert _local_names(net, flat, torch.randn(5, 4)) == {"once.weight", "once.bias"}
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    net = ModuleMainNet(tied)
    assert _local_names(net, torch.randn(net.weight_spec.numel), torch.randn(5, 4)) == {"0.bias", "1.bias"}


def test_it_trains():
    model, guide = regression()
    elbo = ImplicitELBO(LIVI(), num_particles=4, num_samples=8, local_noise=True)
    result = fit(model, guide, data(N=30), num_steps=60, lr=0.02, elbo=elbo)
    assert result.history["loss"][-10:].mean() < result.history["loss"][:10].mean()


def test_a_mean_field_guide_trains_without_drawing_weights(monkeypatch):
    model, _ = regression(num_data=30)
    guide = HypernetGuide(MeanFieldPosterior(model.weight_spec, sigma=0.4).to(DTYPE))
    given = data(N=30)
    shown = []
    fit(model, guide, given, num_steps=2, local_noise=True, extra_terms=[lambda w, *_: shown.append(w) or w.sum()])
    assert [w.shape for w in shown] == 2 * [(1, model.weight_spec.numel)]

    def refuse(*_):
        raise AssertionError("weights were drawn")

    monkeypatch.setattr(MeanFieldGaussian, "draw", refuse)
    result = fit(model, guide, given, num_steps=60, lr=0.02, num_particles=4, local_noise=True)
    assert result.history["loss"][-10:].mean() < result.history["loss"][:10].mean()


def test_the_mean_field_loss_is_the_same_on_average_and_its_gradient_has_less_variance():
    model, _ = regression(num_data=120)
    guide, (x, y) = HypernetGuide(MeanFieldPosterior(model.weight_spec, sigma=0.4).to(DTYPE)), data(N=60)

    def runs(local, seeds):
        rows = []
        for seed in seeds:
            torch.manual_seed(seed)
            loss = ImplicitELBO(num_particles=8, beta=0.5, local_noise=local).differentiable_loss(model, guide, x, y)
            rows.append(torch.cat([loss.detach().reshape(1), gradients_of(loss, guide)]))
        return torch.stack(rows)

    ours, theirs = runs(True, range(50)), runs(False, range(100, 150))
    gap, error = ours.mean(0) - theirs.mean(0), ((ours.var(0) + theirs.var(0)) / 50).sqrt()
    assert (gap.abs() < 5 * error + 1e-9).all()
    assert ours.var(0).sum() < 0.5 * theirs.var(0).sum()


def test_what_it_does_not_fit_is_refused():
    model, guide = regression()
    x, y = data()
    with pytest.raises(TypeError, match="Leave it off"):
        ImplicitELBO(local_noise=True).loss(lambda *a: model(*a), guide, x, y)
    radial = HypernetGuide(RadialPosterior(model.weight_spec).to(DTYPE))
    with pytest.raises(TypeError, match="Leave local_noise off"):
        ImplicitELBO(local_noise=True).loss(model, radial, x, y)
    conv = ModuleMainNet(nn.Sequential(nn.Conv1d(1, 1, 2), nn.Flatten()))
    program = BayesianModel(conv, FanInGaussian(conv.weight_spec), Gaussian())
    guide = HypernetGuide(MeanFieldPosterior(conv.weight_spec))
    with pytest.raises(ValueError, match="a network with linear layers"):
        ImplicitELBO(local_noise=True).loss(program, guide, torch.randn(3, 1, 2), torch.randn(3, 1))
