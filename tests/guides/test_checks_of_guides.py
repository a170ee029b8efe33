"""Guides that judge themselves: weights against exact densities, resampling, calibration, records for ArviZ."""

import math
import sys
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import nn
from torch.distributions import MultivariateNormal

from bayeshnet.distributions import Dirac, FanInGaussian, HypernetPosterior, MeanFieldPosterior
from bayeshnet.distributions.posteriors.base import WeightPosterior
from bayeshnet.guides import AutoHypernet, BayesianModel, Calibration, Gaussian, HypernetGuide, calibrate, to_arviz
from bayeshnet.guides.checking.arviz_records import arviz_groups
from bayeshnet.guides.checking.importance import GuideCheck, _advice, density_at_draws, judge, with_shift
from bayeshnet.guides.checking.joint import log_joint
from bayeshnet.hnets import HMLP
from bayeshnet.inference import fit
from bayeshnet.metrics import ParetoSmoothing
from bayeshnet.weights import WeightSpec
from tests.support.oracles import DTYPE

Y = torch.tensor([0.5, 1.5, 1.0, 2.0], dtype=DTYPE)


def conjugate(y=Y):
    """Unknown mean of normal data: the posterior is N(sum / (n + 1), 1 / (n + 1))."""
    mean = pyro.sample("mean", dist.Normal(torch.zeros((), dtype=DTYPE), 1.0))
    with pyro.plate("data", len(Y)):
        return pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def positive(y=Y):
    """A positive unknown in a model that is not written for plates around it."""
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros((), dtype=DTYPE), 1.0))
    rows = torch.stack([scale, scale]) if scale.ndim == 0 else torch.zeros(2, dtype=DTYPE)
    pyro.sample("y", dist.Normal(torch.zeros(2, dtype=DTYPE), rows + 1e-3).to_event(1), obs=y[:2])


def exact_guide(width=1.0, y=Y):
    """A linear guide set to the conjugate posterior, ``width`` times as wide."""
    torch.manual_seed(0)
    guide = AutoHypernet(conjugate, layers=(), sigma=0.1)
    guide(y)
    scale = width / math.sqrt((len(Y) + 1) * 1.01)
    with torch.no_grad():
        head, offset = list(guide.posterior.hnet.params.values())[:2]
        head.fill_(scale)
        offset.fill_(float(y.sum()) / (len(Y) + 1))
    return guide


def noise():
    return torch.Generator().manual_seed(0)


def test_weights_of_the_exact_posterior_are_equal_and_give_the_evidence():
    found = exact_guide().check(conjugate, Y, generator=noise())
    law = MultivariateNormal(torch.zeros(4, dtype=DTYPE), torch.eye(4, dtype=DTYPE) + 1)
    assert found.log_evidence == pytest.approx(float(law.log_prob(Y)), abs=1e-6)
    assert found.effective == pytest.approx(1000)
    assert found.k_hat == -1.0
    assert found.reliable
    assert found.gap == 0.0


def test_a_narrow_guide_is_told_and_a_slightly_narrow_one_corrected():
    narrow = exact_guide(0.3).check(conjugate, Y, generator=noise())
    assert not narrow.reliable
    assert "misses a part" in narrow.advice
    guide = exact_guide(0.8)
    found = guide.check(conjugate, Y, num_samples=4000, generator=noise())
    assert 0 < found.k_hat < 0.7
    draws = guide.resample(20_000, conjugate, Y, num_draws=20_000, generator=noise())["mean"]
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(draws.std()) == pytest.approx(5**-0.5, rel=0.02)
    assert float(guide.sample_posterior(20_000, Y)["mean"].std()) < 0.82 * 5**-0.5


def test_a_change_by_the_weights_is_told_in_closed_form():
    """Of a guide 0.7 times as wide the weights make the spread right, which is 30 % of it; scales by logarithms."""
    weights = torch.linspace(0.5, 1.5, 1000, dtype=DTYPE)
    smooth = ParetoSmoothing((weights / weights.sum()).log(), 0.1, 900.0, 0.0)
    x = torch.linspace(-1.0, 3.0, 1000, dtype=DTYPE)
    fine = GuideCheck(0.1, 900.0, 1000, 0.0, 0.0, _advice(0.1, 900.0, 1000, 0.0))
    share = weights / weights.sum()
    mean = (share * x).sum()
    expected = (mean - x.mean()) / (share * (x - mean) ** 2).sum().sqrt()
    found = with_shift(fine, smooth, {"x": x, "scale": x.exp().unsqueeze(-1)})
    assert found.shift == pytest.approx(float(expected))
    assert "move a mean or a spread by 3" in found.advice
    assert found.reliable
    same = with_shift(fine, ParetoSmoothing(torch.full_like(x, 1e-3).log(), 0.1, 900.0, 0.0), {"x": x})
    assert same.shift < 1e-3
    assert same.advice == fine.advice
    narrow = exact_guide(0.7).check(conjugate, Y, num_samples=4000, generator=noise())
    assert narrow.shift == pytest.approx(0.3, abs=0.08)
    assert exact_guide().check(conjugate, Y, generator=noise()).shift < 0.01


def test_density_of_a_nonlinear_guide_is_that_of_quadrature():
    torch.manual_seed(0)
    hnet = HMLP([[1]], uncond_in_size=1, cond_in_size=0, num_cond_embs=0, layers=[6], verbose=False).to(DTYPE)
    q = HypernetPosterior(hnet, sigma=0.3, weight_spec=WeightSpec.of_shapes([[1]]))()
    draw = q.draw(200, noise())
    lower, upper = density_at_draws(q, draw, noise())
    z = torch.linspace(-8, 8, 4001, dtype=DTYPE)[:, None]
    h, step = q.geometry(z)[:, 0].detach(), float(z[1, 0] - z[0, 0])
    given = dist.Normal(h, q.sigma.detach()).log_prob(draw.w.detach()) + dist.Normal(0.0, 1.0).log_prob(z[:, 0])
    exact = given.logsumexp(-1) + math.log(step)
    assert float((lower - exact).mean()) < 0.01
    assert float((upper - exact).mean()) > -0.01
    assert float((upper - exact).abs().mean()) < 0.05


@pytest.mark.parametrize("program", [conjugate, positive])
def test_the_log_joint_of_many_values_is_that_of_each(program):
    name = "mean" if program is conjugate else "scale"
    values = {name: torch.tensor([0.3, 1.2, 2.0], dtype=DTYPE)}
    found = log_joint(program, values, (Y,))
    expected = []
    for v in values[name]:
        if program is conjugate:
            expected.append(dist.Normal(0.0, 1.0).log_prob(v) + dist.Normal(v, 1.0).log_prob(Y).sum())
        else:
            expected.append(dist.LogNormal(0.0, 1.0).log_prob(v) + dist.Normal(0.0, v + 1e-3).log_prob(Y[:2]).sum())
    torch.testing.assert_close(found, torch.stack(expected))


def test_models_of_other_unknowns_are_refused():
    guide = exact_guide()
    with pytest.raises(ValueError, match=r"model: expected one whose unknowns are .* got one that also draws 'y'"):
        guide.check(conjugate, None)
    with pytest.raises(ValueError, match="got one without 'mean'"):
        guide.check(lambda y: pyro.sample("y", dist.Normal(0.0, 1.0), obs=y[0]), Y)
    with pytest.raises(ValueError, match="num_samples: expected an integer >= 100"):
        guide.check(conjugate, Y, num_samples=99)


def test_weights_of_a_network_are_judged_too():
    x, y = torch.linspace(-1, 1, 8, dtype=DTYPE)[:, None], torch.zeros(8, 1, dtype=DTYPE)
    net = nn.Linear(1, 1).to(DTYPE)
    prior = FanInGaussian(WeightSpec.of(net), dtype=DTYPE)
    guide = HypernetGuide(MeanFieldPosterior(WeightSpec.of(net), scale="fan_in", sigma=1.0).to(DTYPE))
    with torch.no_grad():
        guide.get_parameter("posterior.mean.u").zero_()  # the prior itself, so that weights are likelihoods
    model = BayesianModel(net, prior, Gaussian(0.5))
    found = guide.check(model, x, y, num_samples=4000, generator=noise())
    scale = prior.variance.sqrt()
    design = torch.cat([x, torch.ones_like(x)], 1) * scale
    law = MultivariateNormal(torch.zeros(8, dtype=DTYPE), design @ design.T + 0.25 * torch.eye(8, dtype=DTYPE))
    assert found.log_evidence == pytest.approx(float(law.log_prob(y[:, 0])), abs=0.1)
    assert guide.resample(10, model, x, y, generator=noise())["weights"].shape == (10, 2)


class Silent(WeightPosterior):
    """A posterior without a density."""

    def __init__(self):
        super().__init__()
        self.weight_spec = WeightSpec.of_shapes([[2]])

    def forward(self, cond_id=None, cond_input=None):
        return Dirac(torch.zeros(2))


def test_a_fit_warns_once_of_a_guide_that_is_wrong(caplog):
    def fitted(**options):
        torch.manual_seed(0)
        guide = AutoHypernet(conjugate, layers=(), init_scale=0.02)
        return fit(conjugate, guide, (Y,), num_steps=100, lr=1e-9, generator=noise(), **options).alarms

    assert list(fitted()) == ["k_hat"]
    assert [message.split(":")[0] for message in caplog.messages] == ["k_hat"]
    assert fitted(alarms=False) == {}
    assert fitted(beta=2.0) == {}
    guide = exact_guide()
    assert fit(conjugate, guide, (Y,), num_steps=100, lr=1e-9, generator=noise()).alarms == {}


def test_calibration_of_the_exact_posterior_is_uniform_and_of_a_narrow_one_is_not():
    class Exact:
        def __init__(self, model, width):
            with pyro.poutine.block():
                self.y, self.width = pyro.poutine.trace(model).get_trace(Y).nodes["y"]["value"], width

        def sample_posterior(self, num, *args):
            return {"mean": self.y.sum() / 5 + self.width * torch.randn(num, dtype=DTYPE) / 5**0.5}

    good = calibrate(conjugate, lambda model: Exact(model, 1.0), Y, num_simulations=400, generator=noise())
    assert good.histogram("mean").tolist() != [20] * 20
    assert float(good.p_values()["mean"]) > 0.05
    for level in (0.5, 0.9):
        error = (level * (1 - level) / 400) ** 0.5
        assert abs(float(good.coverage(level)["mean"]) - level) < 3 * error
    narrow = calibrate(conjugate, lambda model: Exact(model, 0.4), Y, num_simulations=200, generator=noise())
    assert float(narrow.p_values()["mean"]) < 1e-6
    assert float(narrow.coverage(0.9)["mean"]) < 0.6


def test_p_values_are_those_of_a_chi_square_by_hand():
    ranks = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])
    found = Calibration({"x": ranks}, 3)
    assert found.histogram("x", 4).tolist() == [3, 1, 2, 4]
    statistic = sum((n - 2.5) ** 2 / 2.5 for n in (3, 1, 2, 4))
    # The upper tail with three degrees of freedom, in closed form.
    expected = math.erfc(math.sqrt(statistic / 2)) + math.sqrt(2 * statistic / math.pi) * math.exp(-statistic / 2)
    assert float(found.p_values(4)["x"]) == pytest.approx(expected)
    assert float(found.coverage(0.5)["x"]) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="bins: expected a divisor of 4"):
        found.histogram("x", 3)
    with pytest.raises(ValueError, match="name: expected"):
        found.histogram("y")


def test_calibration_takes_pyros_guides_and_refuses_models_without_data():
    assert calibrate(conjugate, AutoNormal, Y, num_simulations=10, num_draws=4).ranks["mean"].max() <= 4
    with pytest.raises(ValueError, match="got one without observed sites"):
        calibrate(lambda: pyro.sample("x", dist.Normal(0.0, 1.0)), AutoNormal)

    def discrete():
        pyro.sample("k", dist.Bernoulli(0.5))
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=torch.zeros(()))

    with pytest.raises(ValueError, match="got one with the discrete site 'k'"):
        calibrate(discrete, AutoNormal)
    with pytest.raises(ValueError, match="guide_factory: expected a guide for all unknowns"):
        calibrate(conjugate, lambda model: lambda y: None, Y)


def test_groups_for_arviz_hold_draws_likelihoods_and_weights():
    guide = exact_guide()
    groups = arviz_groups(guide, conjugate, Y, num_samples=200, generator=noise())
    mean = torch.as_tensor(groups["posterior"]["mean"])
    assert mean.shape == (1, 200)
    expected = dist.Normal(mean[..., None], 1.0).log_prob(Y)
    torch.testing.assert_close(torch.as_tensor(groups["log_likelihood"]["y"]), expected)
    lp = expected.sum(-1) + dist.Normal(0.0, 1.0).log_prob(mean)
    torch.testing.assert_close(torch.as_tensor(groups["sample_stats"]["lp"]), lp)
    assert groups["sample_stats"]["log_weight"] == pytest.approx(-math.log(200))
    new = groups["posterior_predictive"]["y"]
    assert new.shape == (1, 200, 4)
    assert abs((new[0] - mean[0, :, None].numpy()).std() - 1) < 0.1
    assert groups["observed_data"]["y"].tolist() == Y.tolist()


def test_arviz_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"pip install 'bayeshnet\[arviz\]'"):
        to_arviz(exact_guide(), conjugate, Y, num_samples=100)


@pytest.mark.filterwarnings("ignore")
def test_arviz_takes_the_record():
    arviz = pytest.importorskip("arviz")
    data = to_arviz(exact_guide(), conjugate, Y, num_samples=400, generator=noise())
    assert data.posterior["mean"].shape == (1, 400)
    assert float(arviz.loo(data).p_loo) == pytest.approx(0.38, abs=0.15)  # the sum of variances of log-likelihoods


def test_posteriors_without_a_density_have_no_weights():
    with pytest.raises(ValueError, match="guide: expected one whose posterior has a density"):
        HypernetGuide(Silent()).draws_with_density(100)


def test_a_density_that_is_hardly_known_is_not_relied_on():
    """The gap of both sides is said in place of what the weights tell."""
    ratios = torch.randn(400, dtype=DTYPE, generator=noise())
    found, _ = judge(ratios, -2.5 * torch.ones(400, dtype=DTYPE), torch.zeros(400, dtype=DTYPE))
    assert found.gap == pytest.approx(2.5)
    assert found.advice.startswith("The guide's density is known to 2.5 nats only")
    for bad in (torch.nan, torch.inf):
        ratios[3] = bad
        with pytest.raises(ValueError, match="model: expected one with a density at the guide's draws"):
            judge(ratios, torch.zeros(400, dtype=DTYPE), torch.zeros(400, dtype=DTYPE))
    nowhere = torch.full((400,), -torch.inf, dtype=DTYPE)
    with pytest.raises(ValueError, match="look for data outside the supports"):
        judge(nowhere, torch.zeros(400, dtype=DTYPE), torch.zeros(400, dtype=DTYPE))


@pytest.mark.parametrize(("effective", "reliable"), [(30.0, False), (70.0, True)])
def test_a_check_of_which_few_draws_count_is_not_reliable(effective, reliable):
    check = GuideCheck(0.6, effective, 1000, 0.0, 0.0, "")
    assert (check.reliable, check.resamples) == (reliable, reliable)
    assert not replace(check, missed=0.5).reliable
    assert replace(check, missed=0.5).resamples == reliable


def test_advice_says_that_few_draws_count():
    """Log-weights that are uniform on an interval of 60 have no tail; by their moments 2 of 60 draws count."""
    ratios = torch.linspace(-60, 0, 4000, dtype=DTYPE)
    check, smooth = judge(ratios, torch.zeros_like(ratios), torch.zeros_like(ratios))
    assert smooth.k_hat < 0.7
    assert check.effective == pytest.approx(4000 * 2 / 60, rel=0.1)  # smoothed
    assert "too few" in check.advice
    assert not check.reliable
