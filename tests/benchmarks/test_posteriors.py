"""Posteriors with known answers: models beside closed forms, exact draws beside quadrature, the page's judgments."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, HalfCauchy, LogNormal, MultivariateNormal, Normal

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from posteriors_calibration import calibrated, normal, smallest
from posteriors_gym import brownian
from posteriors_page import alarms, calibrations, counted, error, misses, silences, winners, write_page
from posteriors_targets import EFFECTS, ERRORS, crossing, exact_crossing, exact_schools, mixture, spikes

from bayeshnet.guides.checking.joint import log_joint


def test_the_mean_of_two_normals_has_the_density_of_both():
    theta, seen = torch.tensor([[0.3, -0.2], [1.0, 2.0]]), torch.tensor([0.5, 0.1])
    found = log_joint(mixture, {"theta": theta}, (seen,))
    wide, narrow = (Normal(theta, s).log_prob(seen).sum(-1).exp() for s in (1.0, 0.1))
    torch.testing.assert_close(found, (0.5 * (wide + narrow) / 400).log())


def test_a_walk_has_the_density_of_its_steps_and_of_what_is_seen():
    seen = torch.tensor([0.1, float("nan"), -0.3])
    values = {"innovation": torch.tensor([0.4, 0.2]), "noise": torch.tensor([0.3, 0.5]), "step": torch.randn(2, 3)}
    found = log_joint(brownian, values, (seen,))
    expected = []
    for step, noise, steps in zip(*values.values(), strict=True):
        walk = steps.cumsum(0)
        prior = LogNormal(0.0, 2.0).log_prob(step) + LogNormal(0.0, 2.0).log_prob(noise)
        seen_part = Normal(walk[0], noise).log_prob(seen[0]) + Normal(walk[2], noise).log_prob(seen[2])
        expected.append(prior + Normal(0.0, step).log_prob(steps).sum() + seen_part)
    torch.testing.assert_close(found, torch.stack(expected))


def test_spikes_are_a_logistic_regression():
    torch.manual_seed(0)
    design, theta = torch.randn(7, 10), torch.randn(2, 10)
    seen = (torch.rand(7) < 0.5).float()
    found = log_joint(spikes, {"theta": theta}, (design, seen))
    likelihood = Bernoulli(logits=theta @ design.T).log_prob(seen).sum(-1)
    prior = found - likelihood
    zero = log_joint(spikes, {"theta": torch.zeros(1, 10)}, (design, seen)) - 7 * math.log(0.5)
    offset = torch.zeros(1, 10)
    offset[0, 0] = 2.0
    first = log_joint(spikes, {"theta": offset}, (design, seen)) - Bernoulli(logits=offset @ design.T).log_prob(
        seen
    ).sum(-1)
    torch.testing.assert_close(zero - first, torch.tensor([1.0]), atol=1e-4, rtol=1e-4)  # 0.5 * 0.5 * 2 ** 2
    assert bool((prior < zero).all())


def test_exact_draws_of_the_cross_have_its_moments():
    torch.manual_seed(0)
    x = exact_crossing(40_000)
    torch.testing.assert_close(torch.cov(x.T), 2 * torch.eye(2), atol=0.06, rtol=0)
    away = torch.stack([(x[:, 0] * x[:, 1])[x[:, 0] * x[:, 1] > 0].mean(), torch.tensor(1.0)])
    assert float(away[0]) == pytest.approx(1.8, abs=0.2)
    values = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    found = log_joint(crossing, {"x": values})
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-5)
    one = MultivariateNormal(torch.zeros(2), torch.tensor([[2.0, 1.8], [1.8, 2.0]]))
    both = torch.stack([one.log_prob(values[0]), one.log_prob(values[1])]).logsumexp(0) - math.log(2)
    assert float(found[0]) == pytest.approx(float(both), abs=1e-4)


def test_exact_draws_of_schools_have_the_moments_of_quadrature_over_the_spread():
    """Given the spread the mean of the schools is normal, so that one integral is left."""
    torch.manual_seed(0)
    draws = exact_schools(20_000)
    log_tau = torch.linspace(-12, 8, 4001, dtype=torch.float64)
    effects, errors = EFFECTS.double(), ERRORS.double()
    variance = log_tau.exp()[:, None] ** 2 + errors**2
    covariance = torch.diag_embed(variance) + 25.0
    density = MultivariateNormal(torch.zeros(8, dtype=torch.float64), covariance).log_prob(effects)
    weight = (density + HalfCauchy(5.0).log_prob(log_tau.exp()) + log_tau).softmax(0)
    center = (weight * log_tau).sum()
    assert float(draws[:, 1].mean()) == pytest.approx(float(center), abs=0.03)
    deviation = (weight * (log_tau - center) ** 2).sum().sqrt()
    assert float(draws[:, 1].std()) == pytest.approx(float(deviation), rel=0.03)
    mu = (effects / variance).sum(1) / (1 / 25 + (1 / variance).sum(1))
    assert float(draws[:, 0].mean()) == pytest.approx(float((weight * mu).sum()), abs=0.1)
    theta = (effects / errors**2 + mu[:, None] * (-2 * log_tau).exp()[:, None]) / (
        1 / errors**2 + (-2 * log_tau).exp()[:, None]
    )
    expected = (weight[:, None] * theta).sum(0).float()
    torch.testing.assert_close(draws[:, 2:].mean(0), expected, atol=0.2, rtol=0)


def results():
    good = {"mean": 0.02, "std": [0.99, 1.02], "good": 1.0, "wasserstein": 0.1, "c2st": 0.5}
    bad = {"mean": 0.9, "std": [0.4, 1.02], "good": 0.5, "wasserstein": 1.0, "c2st": 0.9}
    told = {"k_hat": 0.2, "effective": 0.9, "missed": 0.0, "reliable": True, "shift": 0.1}
    missed = {"k_hat": 0.2, "effective": 0.9, "missed": 0.4, "reliable": False}
    return {
        "right": {"AutoHypernet": {**good, **told, "resampled": good}, "AutoNormal": bad, "floor": good},
        "told": {"AutoHypernet": {**bad, **missed, "resampled": bad}, "AutoNormal": good},
        "silent": {"AutoHypernet": {**bad, **told, "resampled": bad}, "AutoNormal": bad},
    }


def cells(table):
    return [line.partition("- ")[2].removeprefix("- ") for line in table.splitlines() if "- " in line]


def test_the_page_names_winners_false_silences_and_misses(tmp_path):
    found = results()
    assert error(found["told"]["AutoHypernet"]) == 0.9
    assert error({"mean": 0.0, "std": [0.9, 1.0], "modes": 0.2}) == 0.2
    table, false = alarms(found)
    assert false == ["silent, AutoHypernet"]
    assert table.count("**no**") == 1
    lines = winners(found).splitlines()
    assert lines[lines.index("   * - told") + 1] == "     - AutoNormal"
    assert lines[lines.index("   * - right") + 1] == "     - AutoHypernet"
    assert misses(found).count("at best 50 %") == 2
    assert misses({"right": found["right"]}) == "- None by these measures.\n"
    found["right"]["AutoNormal"] = found["right"]["AutoNormal"] | {"k_hat": 0.9}
    found["silent"]["AutoNormal"] = found["silent"]["AutoNormal"] | {"k_hat": 0.3}
    found["told"]["AutoNormal"] = found["told"]["AutoNormal"] | {"k_hat": 0.1}
    found["told"]["Spline flow"] = {"failed": "NaN"}
    assert error(found["told"]["Spline flow"]) == math.inf
    assert cells(silences(found))[-5:] == ["AutoNormal", "1", "1", "0", "1"]
    told = ["AutoHypernet", "50 %", "0 %", "AutoNormal", "100 %", "0 %"]
    assert cells(counted(found))[-14:-7] == ["told", *told]
    page = tmp_path / "page.rst"
    write_page(page, found, 4.0, 64, "x86", ["radon"])
    assert "not run for this page: radon." in page.read_text(encoding="utf-8")
    assert "Silences that are false, with an error above 0.25 of what was called right: silent, AutoHypernet." in (
        page.read_text(encoding="utf-8")
    )


def test_the_page_tells_alarms_of_calibration(tmp_path):
    assert smallest({"a": torch.tensor(0.3), "b": torch.tensor([0.02, 0.5])}) == pytest.approx(0.06)
    assert smallest({"a": torch.tensor([0.6, 0.9])}) == 1.0
    p_values = {"normal": {"AutoHypernet": 0.4, "AutoNormal": 0.05}, "schools": {"AutoHypernet": 0.0499}}
    assert cells(calibrations(p_values))[-5:] == ["normal", "0.400", "0.050", "schools", "0.050, alarm"]
    p_values["spikes"] = {}
    assert calibrations(p_values).endswith("not run for this page: spikes.\n\n")
    page = tmp_path / "page.rst"
    write_page(page, results(), 4.0, 64, "x86", (), p_values)
    assert "0.050, alarm" in page.read_text(encoding="utf-8")


def test_calibration_of_untrained_guides_is_an_alarm():
    """A guide that has not moved from a narrow start has all ranks at the ends."""
    assert calibrated(normal, "AutoHypernet", seconds=1e-6, simulations=20) < 0.05
