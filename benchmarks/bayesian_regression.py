"""Bayesian regression beside its rivals and the sampler: python benchmarks/bayesian_regression.py [--docs docs].

Two problems: one dimension with a gap in the data, and scikit-learn's diabetes data. All methods have the
same network, prior and noise; test log-likelihood and calibration are those of the mixture over draws. With --docs the
page docs/bayesian-regression.rst and its figure are written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bayesian_regression_page import draw_bands, write_page
from torch import Tensor, nn

from bayeshnet.distributions import DiracPosterior, FanInGaussian, HypernetPosterior
from bayeshnet.guides import BayesianModel, Gaussian, HypernetGuide, LowRankGuide, MeanFieldGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import DrawnPosterior, Predictive, fit, reference_posterior
from bayeshnet.mnets import ModuleMainNet

DRAWS, HIDDEN, DROPOUT, MEMBERS = 400, 20, 0.1, 5


@dataclass(frozen=True)
class Problem:
    """Data of a regression, standardized where they are real, and the standard deviation of their noise."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    noise: float
    grid: Tensor | None = None


def curve(x: Tensor) -> Tensor:
    """The function of the problem with a gap."""
    return (3 * x).sin() + 0.5 * x


def gap() -> Problem:
    """Forty points on both sides of a gap, and test points on them and in it."""
    generator = torch.Generator().manual_seed(0)
    side = 0.5 + 0.6 * torch.rand(20, 2, generator=generator)
    x = torch.cat([-side[:, :1], side[:, 1:]])
    test = torch.linspace(-1.1, 1.1, 221).unsqueeze(1)
    y, test_y = (curve(v) + 0.1 * torch.randn(v.shape, generator=generator) for v in (x, test))
    return Problem(x, y, test, test_y, 0.1, torch.linspace(-2, 2, 201).unsqueeze(1))


def diabetes(split: int) -> Problem:
    """Progression of diabetes after a year from ten measurements; the noise is what linear regression leaves."""
    from sklearn.datasets import load_diabetes

    x, y = (torch.as_tensor(a, dtype=torch.float32) for a in load_diabetes(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(split))
    train, test = order[:353], order[353:]
    x = (x - x[train].mean(0)) / x[train].std(0)
    y = ((y - y[train].mean()) / y[train].std()).unsqueeze(1)
    design = torch.cat([x[train], torch.ones(len(train), 1)], 1)
    rest = y[train] - design @ torch.linalg.lstsq(design, y[train]).solution
    return Problem(x[train], y[train], x[test], y[test], float((rest.square().sum() / (len(train) - 11)).sqrt()))


class Setting:
    """Network, prior and likelihood on one problem, which all methods share."""

    def __init__(self, problem: Problem, gain: float, bias: float) -> None:
        """Make the parts."""
        self.problem = problem
        inputs = problem.x.shape[1]
        self.net = ModuleMainNet(nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)))
        self.spec = self.net.weight_spec
        self.prior = FanInGaussian(self.spec, gain=gain, last_gain=1.0, bias=bias)
        self.likelihood = Gaussian(problem.noise)
        self.model = BayesianModel(self.net, self.prior, self.likelihood)

    def fitted(self, guide: HypernetGuide, seed: int, steps: int, particles: int = 8, model: Any = None) -> Any:
        """The guide's posterior after training."""
        data, generator = (self.problem.x, self.problem.y), torch.Generator().manual_seed(seed)
        fit(
            self.model if model is None else model,
            guide,
            data,
            num_steps=steps,
            lr=0.01,
            scheduler="cosine",
            num_particles=particles,
            num_samples=8,
            generator=generator,
        )
        return guide.posterior

    def point(self, seed: int, model: Any = None) -> Tensor:
        """Weights ``(P,)`` of highest posterior density from one start."""
        torch.manual_seed(seed)
        guide = HypernetGuide(DiracPosterior(self.spec))
        return self.fitted(guide, seed, 1500, 1, model)().loc.detach()


def hypernetwork(setting: Setting, seed: int) -> Any:
    """The implicit posterior of this package."""
    shapes = [list(shape) for shape in setting.spec.shapes]
    hnet = HMLP(
        shapes,
        uncond_in_size=16,
        cond_in_size=0,
        num_cond_embs=0,
        layers=[64],
        activation_fn=nn.Tanh(),
        linear_skip=True,
        verbose=False,
    )
    posterior = HypernetPosterior(
        hnet,
        sigma=nn.Parameter(torch.full((setting.spec.numel,), 0.1)),
        scale=setting.prior.whitening,
        weight_spec=setting.spec,
    )
    return setting.fitted(HypernetGuide(posterior), seed, 2500)


def mean_field(setting: Setting, seed: int) -> Any:
    """Independent Gaussian weights."""
    return setting.fitted(MeanFieldGuide(setting.spec, sigma=0.1, scale=setting.prior.whitening), seed, 2500)


def low_rank(setting: Setting, seed: int) -> Any:
    """Gaussian weights with a covariance of rank 16 plus a diagonal."""
    return setting.fitted(LowRankGuide(setting.spec, 16, sigma=0.1, scale=setting.prior.whitening), seed, 2500)


def dropout(setting: Setting, seed: int) -> Any:
    """Dropout in training and prediction; masks of hidden units are masks of the last layer's weights."""
    inputs = setting.problem.x.shape[1]
    layers = [nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1)]
    net = ModuleMainNet(nn.Sequential(*layers))
    model = BayesianModel(net, setting.prior, setting.likelihood, strategy="loop")
    weights = setting.point(seed, model)
    keep = (torch.rand(DRAWS, HIDDEN) > DROPOUT) / (1 - DROPOUT)
    masks = torch.ones(DRAWS, setting.spec.numel)
    masks[:, -1 - HIDDEN : -1] = keep
    return DrawnPosterior(masks * weights, setting.spec)


def ensemble(setting: Setting, seed: int) -> Any:
    """Networks trained from several starts."""
    return DrawnPosterior(torch.stack([setting.point(100 * seed + i) for i in range(MEMBERS)]), setting.spec)


def sampler(setting: Setting, seed: int) -> Any:
    """The no-U-turn sampler."""
    found = reference_posterior(
        setting.model,
        setting.problem.x,
        setting.problem.y,
        num_samples=DRAWS // 2,
        num_warmup=DRAWS // 4,
        generator=torch.Generator().manual_seed(seed),
        nuts={"max_tree_depth": 7},
    )
    return found.posterior(setting.spec)


METHODS: dict[str, Callable[[Setting, int], Any]] = {
    "hypernetwork": hypernetwork,
    "mean field": mean_field,
    "low rank": low_rank,
    "MC dropout": dropout,
    "deep ensemble": ensemble,
    "NUTS": sampler,
}


def evaluate(setting: Setting, posterior: Any, chosen: Tensor) -> dict[str, float]:
    """Log-likelihood, error and coverage of central intervals on the chosen test points."""
    count = len(posterior.samples) if isinstance(posterior, DrawnPosterior) else DRAWS
    predictive = Predictive(posterior, setting.net, setting.likelihood, num_samples=count)
    x, y = setting.problem.test_x[chosen], setting.problem.test_y[chosen]
    result = predictive(x, quantiles=[0.05, 0.25, 0.75, 0.95])
    low, lower, upper, high = result.quantiles.values()
    return {
        "log-likelihood": float(predictive.log_likelihood(x, y).mean()),
        "RMSE": float((result.mean - y).square().mean().sqrt()),
        "50 % interval": float(((lower <= y) & (y <= upper)).float().mean()),
        "90 % interval": float(((low <= y) & (y <= high)).float().mean()),
        "spread": float(result.epistemic.mean().sqrt()),
    }


def run_gap() -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, Any], Problem]:
    """Measures by region and method, and the bands of each method."""
    problem = gap()
    setting = Setting(problem, gain=3.0, bias=2.0)
    inside = problem.test_x.abs().flatten() < 0.5
    measures: dict[str, dict[str, dict[str, float]]] = {"on the data": {}, "in the gap": {}}
    bands = {}
    for name, method in METHODS.items():
        begin = time.process_time()
        torch.manual_seed(0)
        posterior = method(setting, 0)
        measures["on the data"][name] = evaluate(setting, posterior, ~inside)
        measures["in the gap"][name] = evaluate(setting, posterior, inside)
        count = len(posterior.samples) if isinstance(posterior, DrawnPosterior) else DRAWS
        bands[name] = Predictive(posterior, setting.net, setting.likelihood, count)(problem.grid)
        print(f"gap {name} {time.process_time() - begin:.0f} s", flush=True)
        for region, found in measures.items():
            print("   ", region, {k: round(v, 3) for k, v in found[name].items()}, flush=True)
    return measures, bands, problem


def run_diabetes(splits: int) -> dict[str, dict[str, float]]:
    """Means of the measures over splits, by method."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for split in range(splits):
        setting = Setting(diabetes(split), gain=1.0, bias=1.0)
        everything = torch.ones(len(setting.problem.test_x), dtype=torch.bool)
        for name, method in METHODS.items():
            begin = time.process_time()
            torch.manual_seed(split)
            rows[name].append(evaluate(setting, method(setting, split), everything))
            values = {k: round(v, 3) for k, v in rows[name][-1].items()}
            print(f"diabetes {split} {name} {time.process_time() - begin:.0f} s {values}", flush=True)
    return {name: {key: sum(row[key] for row in found) / splits for key in found[0]} for name, found in rows.items()}


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=1, help="splits of the diabetes data")
    parser.add_argument("--docs", type=Path, help="folder of the page and its figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measures, bands, problem = run_gap()
    real = run_diabetes(options.splits)
    if options.docs is not None:
        draw_bands(options.docs / "bayesian-regression.png", bands, problem.x, problem.y, problem.grid, curve)
        write_page(options.docs / "bayesian-regression.rst", measures, real, options.splits)


if __name__ == "__main__":
    main()
