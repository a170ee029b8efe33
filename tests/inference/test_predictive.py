"""Predictions against brute-force mixtures; memory, chunks, quantiles and the uncertainties' meaning."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.profiler import ProfilerActivity, profile

from bayeshnet.distributions import HypernetPosterior, MeanFieldPosterior
from bayeshnet.guides import (
    Bernoulli,
    Categorical,
    Gaussian,
    HeteroscedasticGaussian,
    HypernetGuide,
    MeanFieldGuide,
    Poisson,
)
from bayeshnet.hnets import HMLP
from bayeshnet.inference import Predictive
from bayeshnet.inference.prediction import normal_mixture_quantile
from bayeshnet.weights import WeightSpec
from tests.support.guide_toys import ToyPosterior, data, small_net
from tests.support.oracles import DTYPE

LIKELIHOODS = {
    "categorical": (Categorical(), 3),
    "bernoulli": (Bernoulli(), 3),
    "gaussian": (Gaussian(torch.tensor([0.3, 0.5, 0.7], dtype=DTYPE)), 3),
    "heteroscedastic": (HeteroscedasticGaussian(), 6),
    "poisson": (Poisson(), 3),
    "none": (None, 3),
}
CHUNKS = [{}, {"sample_chunk": 4}, {"input_chunk": 3}, {"sample_chunk": 3, "input_chunk": 5}]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(case, **options):
    likelihood, n_out = LIKELIHOODS[case]
    net = small_net(n_out=n_out)
    guide = HypernetGuide(ToyPosterior(net.weight_spec, num_conds=2))
    return Predictive(guide, net, likelihood, num_samples=11, **options)


class FixedDraws(nn.Module):
    """A posterior that draws rows of a table, so that chunks of any size see the same weights."""

    def __init__(self, spec, w):
        super().__init__()
        self.weight_spec, self.w, self.at = spec, w, 0

    def forward(self, cond_id=None, cond_input=None):
        self.at = 0
        return self

    def draw(self, num, generator=None):
        rows = self.w[self.at : self.at + num]
        self.at += num
        from bayeshnet.distributions import WeightDraw

        return WeightDraw(rows)


def fixed(case, **options):
    predictive = make(case, **options)
    spec = predictive.net.weight_spec
    w = torch.randn(11, spec.numel, dtype=DTYPE, generator=generator())
    predictive.guide = HypernetGuide(FixedDraws(spec, w))
    outputs = torch.stack([predictive.net(data()[0], weights=spec.split(one)) for one in w])
    return predictive, outputs


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("case", LIKELIHOODS)
def test_it_is_the_mixture_over_draws(case, chunks):
    predictive, outputs = fixed(case, **chunks)
    likelihood = predictive.likelihood
    result = predictive(data()[0], keep_samples=True)
    means = outputs if likelihood is None else likelihood.mean(outputs)
    torch.testing.assert_close(result.samples, means)
    torch.testing.assert_close(result.mean, means.mean(0))
    torch.testing.assert_close(result.spread, means.var(0, correction=0))
    noise = torch.zeros(12, dtype=DTYPE) if likelihood is None else likelihood.noise(outputs).mean(0)
    torch.testing.assert_close(result.aleatoric, noise)
    if result.kind == "regression":
        torch.testing.assert_close(result.epistemic, result.spread.sum(-1))
        torch.testing.assert_close(result.std, result.total.sqrt())
    torch.testing.assert_close(result.total, result.aleatoric + result.epistemic)
    torch.testing.assert_close(result.disagreement, means.std(0, correction=0).mean(-1))
    assert result.num_samples == 11


def test_mutual_information_of_classes_is_the_mean_divergence_from_the_mean():
    predictive, outputs = fixed("categorical")
    result = predictive(data()[0])
    p = outputs.softmax(-1)
    divergence = (p * (p.log() - p.mean(0).log())).sum(-1).mean(0)
    torch.testing.assert_close(result.epistemic, divergence)
    torch.testing.assert_close(result.confidence, p.mean(0).amax(-1))
    torch.testing.assert_close(result.label, p.mean(0).argmax(-1))


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
@pytest.mark.parametrize("case", [case for case in LIKELIHOODS if case != "none"])
def test_log_likelihood_is_that_of_the_mixture(case, chunks):
    predictive, outputs = fixed(case, **chunks)
    likelihood = predictive.likelihood
    y = likelihood.distribution(outputs[0]).sample()
    expected = likelihood.distribution(outputs).log_prob(y).exp().mean(0).log()
    torch.testing.assert_close(predictive.log_likelihood(data()[0], y), expected)


@pytest.mark.parametrize("case", ["gaussian", "heteroscedastic"])
def test_quantiles_of_values_are_those_of_the_mixture(case):
    predictive, outputs = fixed(case, input_chunk=5, sample_chunk=4)
    result = predictive(data()[0], quantiles=[0.05, 0.5, 0.9])
    dist = predictive.likelihood.distribution(outputs).base_dist
    for level, value in result.quantiles.items():
        assert value.shape == (12, 3)
        torch.testing.assert_close(dist.cdf(value).mean(0), torch.full((12, 3), level, dtype=DTYPE))


def test_quantiles_of_one_normal_are_its_own():
    loc, scale = torch.tensor([[1.0, -2.0]], dtype=DTYPE), torch.tensor([[0.5, 3.0]], dtype=DTYPE)
    expected = Normal(loc, scale).icdf(torch.tensor(0.3, dtype=DTYPE))[0]
    torch.testing.assert_close(normal_mixture_quantile(loc, scale, 0.3), expected)


def test_quantiles_of_classes_and_of_counts():
    predictive, outputs = fixed("categorical")
    result = predictive(data()[0], quantiles=[0.25])
    torch.testing.assert_close(result.quantiles[0.25], torch.quantile(outputs.softmax(-1), 0.25, dim=0))
    predictive, outputs = fixed("poisson")
    quantile = predictive(data()[0], quantiles=[0.5]).quantiles[0.5]
    below = predictive.likelihood.distribution(outputs).base_dist
    inside = torch.stack([below.log_prob(torch.full_like(outputs, k)).exp().mean(0) for k in range(200)]).cumsum(0)
    at = inside.gather(0, quantile.floor().long().unsqueeze(0))[0]
    assert (at > 0.35).all()
    with pytest.raises(ValueError, match="levels between 0 and 1"):
        predictive(data()[0], quantiles=[95])


def peak(function, *arguments):
    """Bytes allocated at once while ``function`` runs, beyond what is there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        function(*arguments)
    now = most = 0
    events = [e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def test_memory_is_that_of_one_chunk():
    """Four times the draws take no more of it, and all of it is far less than the outputs under all draws."""
    x, sizes = torch.randn(2000, 2, dtype=DTYPE), {}
    for num in (16, 64):
        predictive = make("gaussian", sample_chunk=8, input_chunk=250)
        predictive.num_samples = num
        sizes[num] = peak(predictive, x)
    assert sizes[64] < 1.1 * sizes[16]
    assert sizes[64] < 0.2 * 64 * len(x) * 3 * 8


def test_draws_follow_the_generator_and_the_condition():
    predictive, x = make("categorical"), data()[0]
    first, second = (predictive(x, cond_id=1, generator=generator(3)).mean for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.allclose(first, predictive(x, cond_id=0, generator=generator(3)).mean)
    assert not torch.allclose(first, predictive(x, cond_id=1, generator=generator(4)).mean)
    assert not first.requires_grad


def test_many_inputs_in_float32_do_not_lose_the_variance():
    """Means a thousand times larger than their standard deviation: variances formed from squares would be lost."""
    net = nn.Linear(1, 1)
    posterior = MeanFieldPosterior(WeightSpec.of(net), sigma=0.01, init=torch.tensor([0.0, 1000.0]))
    result = Predictive(posterior, net, num_samples=400, sample_chunk=7)(torch.zeros(3, 1), generator=generator())
    torch.testing.assert_close(result.spread, torch.full((3, 1), 1e-4), rtol=0.2, atol=0)


def test_a_hypernetwork_posterior_is_taken_as_it_is():
    net = small_net()
    hnet = HMLP(
        [list(s) for s in net.weight_spec.shapes], uncond_in_size=3, cond_in_size=0, num_cond_embs=0, verbose=False
    )
    result = Predictive(HypernetPosterior(hnet, scale="fan_in"), net, Gaussian(0.1))(torch.randn(5, 2))
    assert result.mean.shape == (5, 1)


def test_any_module_is_a_network():
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    assert Predictive(MeanFieldGuide(net), net, Categorical())(torch.randn(5, 2)).mean.shape == (5, 3)


def test_wrong_questions_are_refused():
    predictive, _ = fixed("gaussian")
    result = predictive(data()[0])
    for name in ("confidence", "label"):
        with pytest.raises(ValueError, match="got one of values"):
            getattr(result, name)
    with pytest.raises(ValueError, match="got one of classes"):
        _ = fixed("categorical")[0](data()[0]).std
    with pytest.raises(ValueError, match="Give one to Predictive"):
        fixed("none")[0].log_likelihood(*data())
    with pytest.raises(TypeError, match="guide: expected"):
        Predictive(nn.Linear(2, 2), small_net())
    with pytest.raises(TypeError, match="likelihood: expected"):
        Predictive(ToyPosterior(small_net().weight_spec), small_net(), "gaussian")
    with pytest.raises(ValueError, match="num_samples"):
        Predictive(ToyPosterior(small_net().weight_spec), small_net(), num_samples=0)


def test_classes_that_a_mask_rules_out_leave_uncertainties_finite():
    """Logits of -inf: all uncertainty is that of the classes that are left."""

    class Masked(nn.Module):
        def __init__(self, masked):
            super().__init__()
            self.linear = nn.Linear(3, 6)
            self.masked = masked

        def forward(self, x):
            logits = self.linear(x)
            impossible = torch.tensor([0, 0, 0, 0, 1, 1], dtype=torch.bool)
            return logits.masked_fill(impossible, -torch.inf) if self.masked else logits[..., :4]

    found = []
    for masked in (True, False):
        torch.manual_seed(0)
        net, x = Masked(masked), torch.randn(4, 3)
        generator = torch.Generator().manual_seed(1)
        found.append(Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=20)(x, generator=generator))
    masked, left = found
    for name in ("total", "aleatoric", "epistemic", "confidence", "label"):
        torch.testing.assert_close(getattr(masked, name), getattr(left, name))


def test_inputs_that_the_network_does_not_take_are_named_with_the_cause():
    net = nn.Linear(3, 2)
    predictive = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=4)
    for x in (torch.zeros(5, 4), torch.zeros(5, 3, dtype=torch.float64)):
        with pytest.raises(ValueError, match="x: expected inputs that the network takes") as caught:
            predictive(x)
        assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(ValueError, match="x: expected inputs on cpu"):
        predictive(torch.zeros(5, 3, device="meta"))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_predictions_that_would_be_nan_are_refused(number):
    net = nn.Linear(3, 2)
    predictive = Predictive(MeanFieldGuide(net), net, Categorical(), num_samples=4)
    x = torch.zeros(5, 3)
    x[2, 1] = number
    with pytest.raises(ValueError, match="x or net: expected inputs and weights at which predictions are numbers, got"):
        predictive(x)
    with pytest.raises(ValueError, match="x or net: expected"):
        predictive.log_likelihood(x, torch.zeros(5).long())
