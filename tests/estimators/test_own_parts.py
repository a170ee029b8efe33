"""Distributions and posteriors of one's own: defaults that follow from their methods, or the method to be written."""

import re

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from bayeshnet import estimators
from bayeshnet.builders import (
    DiracGenerator,
    HyperHypernetwork,
    ImplicitGenerator,
    LowRankWeights,
    MeanFieldGenerator,
    MeanFieldWeights,
    PointWeights,
    RadialGenerator,
    RadialWeights,
)
from bayeshnet.distributions import FanInGaussian, HypernetPosterior, MeanFieldGaussian, ScaleMixturePrior
from bayeshnet.distributions.base import WeightDistribution, WeightDraw, draw_from
from bayeshnet.estimators import SSGE, Auto, ClosedForm, KLEstimator, MonteCarlo, diagnose
from bayeshnet.estimators.diagnostics.report import ADVICE, advice_for
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import ImplicitELBO, Predictive, fit
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

NET = nn.Linear(3, 1).to(DTYPE)
SPEC = WeightSpec.of(NET)
P = SPEC.numel


class DrawsOnly(WeightDistribution):
    arg_constraints = {}  # noqa: RUF012

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def draw(self, num, generator=None):
        noise = torch.randn(num, *self.loc.shape, dtype=self.loc.dtype, generator=generator)
        return WeightDraw(self.loc + self.scale * noise)


class WithDensity(DrawsOnly):
    def log_prob(self, w):
        return Normal(self.loc, self.scale).log_prob(w).sum(-1)


class Plain(Distribution):
    """A distribution of torch's kind, of which only ``rsample`` is written."""

    arg_constraints = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale
        super().__init__(torch.Size(), loc.shape, validate_args=False)

    def rsample(self, sample_shape=()):
        return self.loc + self.scale * torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype)


def torchs(loc, scale):
    return Independent(Normal(loc, scale), 1)


class Own(nn.Module):
    """A posterior of one's own, without conditions."""

    weight_spec = SPEC

    def __init__(self, kind, spec=SPEC):
        super().__init__()
        self.kind, self.weight_spec = kind, spec
        self.loc = nn.Parameter(torch.zeros(spec.numel, dtype=DTYPE))
        self.log_scale = nn.Parameter(torch.full((spec.numel,), -1.0, dtype=DTYPE))

    def forward(self):
        return self.kind(self.loc, self.log_scale.exp())


KINDS = [DrawsOnly, WithDensity, Plain, torchs]
SAMPLES_ONLY = [DrawsOnly, Plain]
each = pytest.mark.parametrize("kind", KINDS)
samples_only = pytest.mark.parametrize("kind", SAMPLES_ONLY)


def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, dtype=DTYPE, generator=generator)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(40, 1, dtype=DTYPE, generator=generator)
    model = BayesianModel(NET, FanInGaussian(SPEC, dtype=DTYPE), Gaussian(torch.tensor(0.3, dtype=DTYPE)))
    return model, x, y


def conjugate(model, x, y):
    """Mean and covariance of the posterior of the linear network's weights."""
    design = torch.cat([x, torch.ones(len(x), 1, dtype=DTYPE)], 1)
    precision = design.T @ design / 0.09 + torch.diag(model.prior.scale**-2)
    covariance = torch.linalg.inv(precision)
    return covariance @ (design.T @ y[:, 0] / 0.09), covariance


def test_what_is_chosen_follows_from_the_methods():
    prior = FanInGaussian(SPEC, dtype=DTYPE)
    chosen = [type(Auto().choose(Own(kind), prior)[0]) for kind in KINDS]
    assert chosen == [SSGE, MonteCarlo, SSGE, ClosedForm]


@samples_only
def test_the_gradient_from_samples_finds_the_prior(kind):
    torch.manual_seed(0)
    posterior, prior = Own(kind), FanInGaussian(SPEC, dtype=DTYPE)
    optimizer = torch.optim.Adam(posterior.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        estimate = Auto().estimate(posterior, prior)
        assert estimate.value is None
        estimate.surrogate.backward()
        optimizer.step()
    # The kernel has one width for all weights, whose widths differ by 15 here.
    torch.testing.assert_close(posterior.log_scale.exp()[:3], prior.scale[:3], rtol=0.2, atol=0)
    assert (posterior.loc.abs() < 0.1).all()


def test_a_density_gives_a_value():
    loc, scale = torch.full((P,), 0.2, dtype=DTYPE), torch.full((P,), 0.3, dtype=DTYPE)
    prior = FanInGaussian(SPEC, dtype=DTYPE)
    estimate = Auto(4000).estimate(WithDensity(loc, scale), prior)
    exact = kl_divergence(torchs(loc, scale), torchs(prior.loc, prior.scale))
    assert estimate.diagnostics["choice"] == "MonteCarlo"
    assert abs(estimate.value - exact) < 5 * estimate.diagnostics["standard_error"]
    torch.testing.assert_close(Auto().estimate(torchs(loc, scale), prior).value, exact)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k not in ("Plain", "DrawsOnly"))) for k in KINDS]
)
def test_training_and_prediction(kind):
    torch.manual_seed(0)
    model, x, y = problem()
    posterior = Own(kind)
    posterior.log_scale.data.fill_(-2.5)
    guide = HypernetGuide(posterior)
    fit(model, guide, (x, y), num_steps=600, lr=0.03, num_particles=8, scheduler="cosine")
    mean, covariance = conjugate(model, x, y)
    assert (posterior.loc - mean).abs().max() < 0.05
    best = torch.linalg.inv(covariance).diagonal() ** -0.5  # of independent Gaussians
    rtol = 0.25 if kind in SAMPLES_ONLY else 0.1
    torch.testing.assert_close(posterior.log_scale.exp(), best, rtol=rtol, atol=0)
    found = Predictive(posterior, NET, model.likelihood, 2000)(x)
    right = torch.cat([x, torch.ones(40, 1, dtype=DTYPE)], 1) @ mean[:, None]
    assert (found.mean - right).abs().max() < 0.2


@pytest.mark.parametrize("kind", [WithDensity, torchs])
@pytest.mark.parametrize("vectorized", [False, True])
def test_pyros_bound_equals_ours(kind, vectorized):
    model, x, y = problem()
    guide = HypernetGuide(Own(kind))
    torch.manual_seed(0)
    loss = Trace_ELBO(num_particles=3000, vectorize_particles=vectorized, max_plate_nesting=1)
    if not vectorized:
        loss.num_particles = 300
    with torch.no_grad():
        theirs = loss.loss(model, guide, x, y)
        ours = ImplicitELBO(num_particles=3000, num_samples=3000).loss(model, guide, x, y)
    assert theirs == pytest.approx(ours, rel=0.1)


@samples_only
def test_pyros_bound_needs_a_density(kind):
    model, x, y = problem()
    svi = SVI(model, HypernetGuide(Own(kind)), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    with pytest.raises(TypeError, match=r"q: expected a distribution with a density, .*log_prob\(w\)"):
        svi.step(x, y)
    with pytest.raises(TypeError, match=r"q: expected a distribution with a density, .*log_prob\(w\)"):
        MonteCarlo().estimate(Own(kind), model.prior)


@samples_only
def test_many_weights_need_a_density(kind):
    spec = WeightSpec.of(nn.Linear(10, 10))
    with pytest.raises(
        ValueError, match=r"q: expected a distribution with log_prob, or of at most 50 weights, got .* 110"
    ):
        Auto().estimate(Own(kind, spec), FanInGaussian(spec, dtype=DTYPE))
    report = diagnose(Own(kind, spec), FanInGaussian(spec, dtype=DTYPE))
    assert report.value is None
    assert report.alarms.keys() == {"density"}
    assert "log_prob(w)" in report.advice


def test_a_prior_needs_a_density():
    with pytest.raises(TypeError, match=r"p: expected a prior with log_prob, .*log_prob\(w\)"):
        Auto().estimate(Own(WithDensity), DrawsOnly(torch.zeros(P, dtype=DTYPE), torch.ones(P, dtype=DTYPE)))


def test_methods_that_are_missing_or_wrong_are_named():
    class NoSamples(Distribution):
        arg_constraints = {}  # noqa: RUF012
        has_rsample = True

    silent = NoSamples(torch.Size(), torch.Size((P,)), validate_args=False)
    with pytest.raises(
        ValueError, match=r"q: expected a distribution with rsample, got NoSamples. .*rsample\(sample_shape\)"
    ):
        draw_from(silent, 3)

    class Bare(DrawsOnly):
        def draw(self, num, generator=None):
            return super().draw(num, generator).w

    class Short(DrawsOnly):
        def draw(self, num, generator=None):
            return WeightDraw(super().draw(num).w[:, 1:])

    for wrong in (Bare, Short):
        with pytest.raises(
            TypeError, match=rf"{wrong.__name__}.draw: expected a WeightDraw with weights of shape \(1, 4\)"
        ):
            HypernetGuide(Own(wrong))()


def test_a_posterior_of_ones_own_at_the_door():
    class WithoutSpec(nn.Module):
        def forward(self):
            return torchs(torch.zeros(P), torch.ones(P))

    class Tensors(nn.Module):
        weight_spec = SPEC

        def forward(self, cond_id, cond_input):
            return torch.zeros(P)

    with pytest.raises(TypeError, match=r"posterior: .* weight_spec, such as WeightSpec.of\(net\)"):
        HypernetGuide(WithoutSpec())
    with pytest.raises(TypeError, match=r"posterior: expected a distribution of event shape \(P,\)"):
        HypernetGuide(Tensors())()
    with pytest.raises(
        ValueError, match="posterior: expected a distribution over its 4 weights, got MeanFieldGaussian over 3"
    ):
        HypernetGuide(Own(lambda loc, scale: MeanFieldGaussian(loc[1:], scale[1:])))()
    with pytest.raises(ValueError, match=r"posterior: expected a posterior called as posterior\(cond_id, cond_input\)"):
        HypernetGuide(Own(WithDensity)).condition(1)()


BUILDERS = [
    MeanFieldWeights(sigma=0.2),
    RadialWeights(),
    LowRankWeights(rank=2),
    PointWeights(),
    ImplicitGenerator(latent_size=3),
    ImplicitGenerator(latent_size=2, hidden_layers=()),
    ImplicitGenerator(chunk_size=3, latent_size=2, sigma="generated"),
    HyperHypernetwork(latent_size=3, hidden_layers=(5,)),
    MeanFieldGenerator(init_std=0.2),
    RadialGenerator(),
    DiracGenerator(),
]
PRIORS = {"fan in": FanInGaussian, "mixture": ScaleMixturePrior}
each_builder = pytest.mark.parametrize("builder", BUILDERS, ids=lambda one: type(one).__name__)


def named(text):
    """Return the estimators that a text names."""
    return {name for name in re.findall(r"\w+", text) if isinstance(getattr(estimators, name, None), type)} - {"Auto"}


@each_builder
@pytest.mark.parametrize("prior", PRIORS)
def test_the_advice_of_a_diagnosis_can_be_followed(builder, prior):
    torch.manual_seed(0)
    spec = WeightSpec.of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    q, p = builder.build(spec), PRIORS[prior](spec)
    report = diagnose(q, p)
    assert report.advice
    for name in named(report.advice):
        kind = getattr(estimators, name)
        assert issubclass(kind, KLEstimator)
        with torch.no_grad():
            kind().estimate(q, p)
    if not report.alarms:
        assert len(named(report.advice)) == 1


def test_the_advice_about_noise_that_folds_can_be_followed():
    torch.manual_seed(0)
    hnet = HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, layers=[8], verbose=False)
    with torch.no_grad():
        for parameter in hnet.parameters():
            parameter.mul_(6.0)
    q = HypernetPosterior(hnet, scale="fan_in", noise="shared")
    report = diagnose(q, FanInGaussian(q.weight_spec))
    assert "injective" in report.alarms
    assert not named(report.advice)
    assert 'noise="independent"' in report.advice
    assert advice_for({"fold": ""}) == ADVICE["fold"]


@pytest.mark.parametrize(
    "builder",
    [pytest.param(b, marks=[pytest.mark.slow] * (i in (4, 6, 7))) for i, b in enumerate(BUILDERS)],
    ids=lambda one: type(one).__name__,
)
def test_diagnoses_are_the_same_in_inference_mode(builder):
    torch.manual_seed(0)
    spec = WeightSpec.of(nn.Linear(3, 2))
    q, p = builder.build(spec), FanInGaussian(spec)
    reports = []
    for inference in (False, True):
        with torch.inference_mode(inference):
            for posterior in (q, q()):
                reports.append(diagnose(posterior, p, generator=torch.Generator().manual_seed(0)))
    for other in reports[1:]:
        assert other.flags == reports[0].flags
        assert other.information == pytest.approx(reports[0].information, rel=1e-3, abs=1e-3)
        assert (other.value is None) == (reports[0].value is None)
        if other.value is not None:
            assert other.value == pytest.approx(reports[0].value, rel=1e-4)


@each_builder
def test_a_prior_on_another_device_is_named(builder):
    q = builder.build(SPEC)
    with pytest.raises(ValueError, match="p: expected a prior on cpu, got one on meta") as found:
        Auto().estimate(q, FanInGaussian(SPEC, last_gain=2.0, device="meta"))
    assert found.value.__cause__ is not None
