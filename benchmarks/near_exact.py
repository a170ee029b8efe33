"""Posteriors beside the exact one: python benchmarks/near_exact.py [--problems gap ...] [--keep FOLDER] [--docs docs].

A long run of the batched sampler is the truth. Every family has the same network, prior and likelihood, temperature 1,
and the same CPU time on one thread. What is measured is kept in a folder, one file for each problem and family, so that
a run that was interrupted goes on; with --docs the page docs/results/near-exact.rst and its figure are written.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from near_exact_families import FAMILIES, Parts, long_run
from near_exact_page import TRUTH, draw_gap, write_page
from near_exact_problems import PROBLEMS, Problem
from torch import Tensor

from bayeshnet.distributions import HypernetPosterior
from bayeshnet.estimators import ImportanceSandwich
from bayeshnet.guides import BayesianModel, HypernetGuide
from bayeshnet.inference import DrawnPosterior, Predictive, SampledPosterior

DRAWS = 400


def predictions(model: BayesianModel, problem: Problem, posterior: Any) -> dict[str, Tensor]:
    """Log-likelihood, mean, spread and (of values) density of the predictive distribution at the test inputs."""
    drawn = isinstance(posterior, (DrawnPosterior, SampledPosterior))
    count = min(len(posterior.samples), 4 * DRAWS) if drawn else DRAWS
    predictive = Predictive(posterior, model.net, model.likelihood, count, sample_chunk=DRAWS)
    generator = torch.Generator().manual_seed(5)
    result = predictive(problem.test_x, generator=generator)
    found = {
        "log_likelihood": predictive.log_likelihood(problem.test_x, problem.test_y, generator=generator),
        "mean": result.mean,
        "spread": result.spread.mean(1),
    }
    if result.kind == "regression":
        found["density"] = _densities(model, problem, posterior, min(count, DRAWS))
        found |= _bands(model, problem, posterior, min(count, DRAWS))
    return found


@torch.no_grad()
def _densities(model: BayesianModel, problem: Problem, posterior: Any, count: int) -> Tensor:
    """Probabilities of cells of the target between -5 and 5 at each test input, ``(N, 400)``."""
    weights = posterior.draw(count, torch.Generator().manual_seed(6)).w
    outputs = model.outputs(weights, problem.test_x)[..., 0]
    noise = model.likelihood.distribution(outputs[:1, :1, None]).variance.sqrt().flatten()[0]
    edges = torch.linspace(-5, 5, 401)
    total = torch.zeros(len(problem.test_x), 400)
    for one in outputs:
        total += torch.special.ndtr((edges - one[:, None]) / noise).diff(dim=1) / count
    return total


@torch.no_grad()
def _bands(model: BayesianModel, problem: Problem, posterior: Any, count: int) -> dict[str, Tensor]:
    """Mean and quantiles of the function on a grid, of the problem in one dimension."""
    if problem.x.shape[1] > 1:
        return {}
    grid = torch.linspace(-1.6, 1.6, 161).unsqueeze(1)
    values = model.outputs(posterior.draw(count, torch.Generator().manual_seed(6)).w, grid)[..., 0]
    low, middle, high = values.quantile(torch.tensor([0.05, 0.5, 0.95]), dim=0)
    return {"grid": grid[:, 0], "low": low, "middle": middle, "high": high}


def negative_elbo(model: BayesianModel, problem: Problem, posterior: Any) -> float | None:
    """Minus the bound of the evidence in nats; None for posteriors without a density."""
    if isinstance(posterior, (DrawnPosterior, SampledPosterior)):
        return None
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        weights = posterior.draw(1000, generator).w
        fit = -torch.cat([model.log_likelihood(w, problem.x, problem.y) for w in weights.split(100)]).mean()
        if isinstance(posterior, Parts):
            divergence = (posterior().log_prob(weights) - model.prior.log_prob(weights)).mean()
        else:
            implicit = isinstance(posterior, HypernetPosterior)
            estimator = ImportanceSandwich(128) if implicit else HypernetGuide(posterior).estimator
            divergence = estimator.estimate(posterior(), model.prior, generator=generator).value
    return float(fit + divergence)


def compared(problem: Problem, found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, Any]:
    """Measures by region: log-likelihood, agreement with the truth, and the ratio of spreads."""
    rows = {}
    for region, mask in problem.regions.items():
        row = {"log_likelihood": float(found["log_likelihood"][mask].mean())}
        if "density" in found:
            row["variation"] = float(0.5 * (found["density"] - truth["density"])[mask].abs().sum(1).mean())
        else:
            row["variation"] = float(0.5 * (found["mean"] - truth["mean"])[mask].abs().sum(1).mean())
            row["agreement"] = float((found["mean"].argmax(1) == truth["mean"].argmax(1))[mask].float().mean())
            row["accuracy"] = float((found["mean"].argmax(1) == problem.test_y)[mask].float().mean())
        row["spread"] = float((found["spread"][mask].mean() / truth["spread"][mask].mean()).sqrt())
        rows[region] = row
    return rows


def truth_of(problem: Problem, folder: Path) -> dict[str, Any]:
    """The predictions of the long run, from the folder if it is there, with how its chains agree."""
    path = folder / f"{problem.name}-truth.pt"
    if not path.exists():
        begin, model = time.process_time(), problem.model()
        posterior = long_run(problem)
        seconds = time.process_time() - begin
        found = predictions(model, problem, posterior)
        halves = posterior.samples.chunk(2)
        agree = [predictions(model, problem, DrawnPosterior(half, posterior.weight_spec)) for half in halves]
        convergence = posterior.convergence(model.net, problem.test_x, model.likelihood)
        record = {
            "seconds": seconds,
            "chains": posterior.num_chains,
            "draws": len(posterior.samples) // posterior.num_chains,
            "acceptance": posterior.acceptance,
            "divergences": posterior.divergences,
            "weights_r_hat": posterior.worst_r_hat,
            "r_hat": convergence.worst_r_hat,
            "median_r_hat": float(convergence.r_hat.median()),
            "effective": convergence.least_effective,
            "halves": [compared(problem, half, found) for half in agree],
            "regions": compared(problem, found, found),
        }
        print(problem.name, TRUTH, json.dumps(record), flush=True)
        torch.save({"record": record, "predictions": found}, path)
    return torch.load(path)


def run(problem: Problem, folder: Path, scale: float, families: list[str]) -> None:
    """Measure families on a problem that have not been measured yet."""
    for family in families:
        build = FAMILIES[family]
        path = folder / f"{problem.name}-{family.replace(' ', '_')}.pt"
        if path.exists():
            continue
        torch.manual_seed(0)
        model, begin = problem.model(), time.process_time()
        posterior = build(model, problem, problem.seconds * scale)
        seconds = time.process_time() - begin
        found = predictions(model, problem, posterior)
        record = {"seconds": seconds, "negative_elbo": negative_elbo(model, problem, posterior)}
        print(problem.name, family, json.dumps(record), flush=True)
        torch.save({"record": record, "predictions": found}, path)


def kept(problem: Problem, folder: Path) -> dict[str, Any]:
    """Return what was measured on a problem, by family."""
    paths = {family: folder / f"{problem.name}-{family.replace(' ', '_')}.pt" for family in FAMILIES}
    return {family: torch.load(path) for family, path in paths.items() if path.exists()}


def gathered(problem: Problem, folder: Path) -> dict[str, Any]:
    """Compare all that was measured on a problem with the truth, for the page."""
    truth = truth_of(problem, folder)
    record = truth["record"]
    rows = {TRUTH: {"seconds": record["seconds"], "regions": compared(problem, *[truth["predictions"]] * 2)}}
    for family, found in kept(problem, folder).items():
        rows[family] = {**found["record"], "regions": compared(problem, found["predictions"], truth["predictions"])}
    shown = {"name": problem.name, "title": problem.title, "weights": problem.model().weight_spec.numel}
    missing = [family for family in FAMILIES if family not in rows]
    return {**shown, "truth": record, "rows": rows, "missing": missing}


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--keep", type=Path, default=Path("near-exact"), help="folder of what was measured")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the CPU time of each family")
    parser.add_argument("--docs", type=Path, help="folder of the documentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.keep.mkdir(parents=True, exist_ok=True)
    problems = [PROBLEMS[name]() for name in options.problems]
    for problem in problems:
        run(problem, options.keep, options.scale, options.families)
    if options.docs is not None:
        others = [make().title for name, make in PROBLEMS.items() if name not in options.problems]
        folder = options.docs / "results"
        write_page(folder / "near-exact.rst", [gathered(problem, options.keep) for problem in problems], others)
        for problem in problems:
            if problem.x.shape[1] == 1:
                bands = {TRUTH: truth_of(problem, options.keep), **kept(problem, options.keep)}
                found = {name: values["predictions"] for name, values in bands.items()}
                draw_gap(folder / "near-exact.png", found, problem.x, problem.y)


if __name__ == "__main__":
    main()
