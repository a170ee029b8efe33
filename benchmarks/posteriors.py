"""Guides on posteriors with known answers: python benchmarks/posteriors.py --sbibm FOLDER [--rst docs/posteriors.rst].

Exact draws are known of a funnel, a banana and two modes, a grid gives those of eight schools, and the package sbibm
ships reference draws of two moons and of SLCP (simple likelihood, complex posterior); its wheel, unpacked, is enough.
Each guide gets the same processor time of one thread, with the learning rate falling along half a cosine of
it. Hierarchies are given to Pyro's guides with Pyro's learned centring. Results are kept as they come (``--keep``).
"""

from __future__ import annotations

import argparse
import bz2
import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from auto_hypernet import Clock, Tempered, banana, exact_banana, exact_funnel, exact_two_sided, funnel, two_sided
from posteriors_page import write_page
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoLowRankMultivariateNormal, AutoMultivariateNormal, AutoNormal
from pyro.infer.reparam import LocScaleReparam
from pyro.poutine.util import prune_subsample_sites
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import fit
from bayeshnet.metrics import sliced_wasserstein

DRAWS, PARTICLES, RATE = 4000, 64, 0.02
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools() -> None:
    """Eight schools (Rubin, 1981), centered."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, ERRORS), obs=EFFECTS)


def schools_non_centered() -> None:
    """The same posterior with effects in units of their spread."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * eta, ERRORS), obs=EFFECTS)


def exact_schools(num: int) -> Tensor:
    """Independent draws ``(num, 10)`` of mu, log tau and theta: the first two from a grid, theta given these."""
    log_tau, mu = torch.meshgrid(torch.linspace(-12, 6, 1800), torch.linspace(-20, 30, 1000), indexing="ij")
    density = dist.Normal(0.0, 5.0).log_prob(mu) + dist.HalfCauchy(5.0).log_prob(log_tau.exp()) + log_tau
    for effect, error in zip(EFFECTS, ERRORS, strict=True):
        density = density + dist.Normal(mu, (log_tau.exp() ** 2 + error**2).sqrt()).log_prob(effect)
    index = torch.multinomial((density - density.max()).exp().flatten(), num, replacement=True)
    mu, log_tau = mu.flatten()[index, None], log_tau.flatten()[index, None]
    precision = 1 / ERRORS**2 + (-2 * log_tau).exp()
    mean = (EFFECTS / ERRORS**2 + mu * (-2 * log_tau).exp()) / precision
    return torch.cat([mu, log_tau, mean + torch.randn(num, 8) / precision.sqrt()], 1)


def two_moons(seen: Tensor) -> None:
    """Two crescents (Greenberg, Nonnenmacher, Macke, 2019): a noisy radius and an angle, moved by the parameters."""
    theta = pyro.sample("theta", dist.Uniform(-1.0, 1.0).expand([2]).to_event(1))
    first, second = theta.unbind(-1)
    x = seen[0] + (first + second).abs() / math.sqrt(2) - 0.25
    y = seen[1] - (second - first) / math.sqrt(2)
    radius = (x**2 + y**2 + 1e-12).sqrt()
    density = dist.Normal(0.1, 0.01).log_prob(radius) - radius.log() - 100 * (-x).clamp_min(0.0)
    pyro.factor("seen", density)


def slcp(seen: Tensor) -> None:
    """Five parameters of a bivariate normal of which four draws are seen (Papamakarios, Sterratt, Murray, 2019)."""
    theta = pyro.sample("theta", dist.Uniform(-3.0, 3.0).expand([5]).to_event(1))
    mean, first, second = theta[..., :2], theta[..., 2] ** 2 + 1e-6, theta[..., 3] ** 2 + 1e-6
    rho = theta[..., 4].tanh() * (1 - 1e-6)
    away = seen.reshape(4, 2) - mean.unsqueeze(-2)
    a, b = away[..., 0] / first.unsqueeze(-1), away[..., 1] / second.unsqueeze(-1)
    rest = (1 - rho**2).unsqueeze(-1)
    square = (a**2 - 2 * rho.unsqueeze(-1) * a * b + b**2) / rest
    density = -0.5 * square.sum(-1) - 4 * (first.log() + second.log()) - 2 * rest.squeeze(-1).log()
    pyro.factor("seen", density)


@dataclass(frozen=True)
class Target:
    """A posterior: its model, exact draws, unconstrained values of its sites, and modes as signs of functions."""

    model: Callable[[], None]
    exact: Callable[[int], Tensor]
    read: Callable[[dict[str, Tensor]], Tensor]
    modes: Callable[[Tensor], Tensor] | None = None
    hierarchy: bool = False
    components: int = 1


def _flat(values: dict[str, Tensor]) -> Tensor:
    return torch.stack([v.log() if k == "scale" else v for k, v in values.items()], 1)


def _theta(values: dict[str, Tensor]) -> Tensor:
    return values["theta"]


def _schools(values: dict[str, Tensor]) -> Tensor:
    mu, tau = values["mu"], values["tau"]
    theta = values["theta"] if "theta" in values else mu[:, None] + tau[:, None] * values["eta"]
    return torch.cat([mu[:, None], tau.log()[:, None], theta], 1)


def _shipped(folder: Path, task: str) -> tuple[Tensor, Callable[[int], Tensor]]:
    """The first observation of a task of sbibm, and a function that takes of its reference draws."""
    place = folder / "sbibm" / "tasks" / task / "files" / "num_observation_1"
    seen = np.loadtxt(place / "observation.csv", delimiter=",", skiprows=1)
    with bz2.open(place / "reference_posterior_samples.csv.bz2", "rt") as file:
        draws = torch.as_tensor(np.loadtxt(file, delimiter=",", skiprows=1), dtype=torch.float32)
    return torch.as_tensor(seen, dtype=torch.float32), lambda num: draws[torch.randperm(len(draws))[:num]]


def targets(sbibm: Path | None) -> dict[str, Target]:
    """All targets whose references are at hand."""
    found = {
        "schools, centered": Target(schools, exact_schools, _schools, hierarchy=True),
        "schools, non-centered": Target(schools_non_centered, exact_schools, _schools),
        "funnel": Target(funnel, exact_funnel, _flat, hierarchy=True),
        "banana": Target(banana, exact_banana, _flat),
        "two modes": Target(two_sided, exact_two_sided, _flat, lambda x: x[:, 0] > 0, components=4),
    }
    if sbibm is not None:
        seen, draws = _shipped(sbibm, "two_moons")
        moons = Target(partial(two_moons, seen), draws, _theta, lambda x: x.sum(1) > 0, components=4)
        seen, draws = _shipped(sbibm, "slcp")
        found |= {
            "two moons": moons,
            "SLCP": Target(
                partial(slcp, seen), draws, _theta, lambda x: 2 * (x[:, 2] > 0) + (x[:, 3] > 0), components=8
            ),
        }
    return found


GUIDES: dict[str, Callable[..., Any]] = {
    "AutoHypernet": AutoHypernet,
    "AutoHypernet, components": AutoHypernet,
    "AutoNormal": AutoNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": AutoLowRankMultivariateNormal,
    "AutoIAFNormal": partial(AutoIAFNormal, num_transforms=2),
}


@torch.no_grad()
def drawn(guide: Any, model: Any, plain: Any, num: int) -> dict[str, Tensor]:
    """Draws ``(num, *shape)`` of the sites of the plain model from a guide of the model, centred or not."""
    trace = prune_subsample_sites(poutine.trace(plain).get_trace())
    sites = {name: site["value"].shape for name, site in trace.iter_stochastic_nodes()}
    with pyro.plate("draws", num, dim=-2):
        trace = poutine.trace(guide).get_trace()
        run = poutine.trace(poutine.replay(model, trace=trace)).get_trace()
    return {name: run.nodes[name]["value"].reshape(num, *shape) for name, shape in sites.items()}


def train(target: Target, name: str, seconds: float, seed: int) -> Callable[[int], dict[str, Tensor]] | AutoHypernet:
    """A trained guide."""
    pyro.clear_param_store()
    torch.manual_seed(seed)
    clock = Clock(seconds)
    ours, hot = name.startswith("AutoHypernet"), target.modes is not None
    settings: dict[str, Any] = {"num_steps": 10**6, "lr": RATE, "scheduler": clock.rate, "callbacks": [clock]}
    if ours:
        count = target.components if name.endswith("components") else 1
        guide = AutoHypernet(target.model, components=count)
        guide()
        beta = clock.heat if hot else 1.0
        fit(target.model, guide, num_particles=PARTICLES, num_samples=PARTICLES, beta=beta, alarms=False, **settings)
        return guide
    config = {"theta": LocScaleReparam(), "x": LocScaleReparam()} if target.hierarchy else {}
    model = poutine.reparam(target.model, config=config) if config else target.model
    guide = GUIDES[name](model)
    guide()
    program = Tempered(clock.heat)(model) if hot else model
    fit(program, guide, elbo=Trace_ELBO(PARTICLES, vectorize_particles=True, max_plate_nesting=1), **settings)
    return partial(drawn, guide, model, target.model)


def c2st(x: Tensor, y: Tensor) -> float:
    """Accuracy of a network that tells both sets apart, by three-fold cross-validation: 0.5 for equal laws."""
    both = torch.cat([x, y])
    both = ((both - y.mean(0)) / y.std(0)).clamp(-20, 20)
    labels = np.r_[np.zeros(len(x)), np.ones(len(y))]
    network = MLPClassifier((32, 32), max_iter=60, early_stopping=True, random_state=0)
    return float(cross_val_score(network, both.numpy(), labels, cv=3, scoring="accuracy").mean())


def compared(x: Tensor, y: Tensor, target: Target) -> dict[str, Any]:
    """All measures of draws ``x`` beside exact ones ``y``."""
    found: dict[str, Any] = {
        "wasserstein": float(sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0))),
        "c2st": c2st(x[:2000], y[:2000]),
        "mean": float(((x.mean(0) - y.mean(0)) / y.std(0)).abs().max()),
        "std": [float(r) for r in ((x.std(0) / y.std(0)).min(), (x.std(0) / y.std(0)).max())],
    }
    if target.modes is not None:
        known, own = (torch.bincount(target.modes(z).long(), minlength=4) / len(z) for z in (y, x))
        found["modes"] = float((known - own).abs().max())
    return found


def measure(target: Target, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """All measures of one guide on one target."""
    trained = train(target, name, seconds, seed)
    torch.manual_seed(10_000)
    reference = target.exact(DRAWS)
    if not isinstance(trained, AutoHypernet):
        return compared(target.read(trained(DRAWS)), reference, target)
    found = compared(target.read(trained.sample_posterior(DRAWS)), reference, target)
    check = trained.check(target.model, generator=torch.Generator().manual_seed(0))
    again = trained.resample(DRAWS, target.model, generator=torch.Generator().manual_seed(0))
    found |= {"k_hat": check.k_hat, "effective": check.effective / check.num_samples}
    return found | {"resampled": compared(target.read(again), reference, target)}


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="processor time for each guide")
    parser.add_argument("--sbibm", type=Path, help="folder with the unpacked wheel of sbibm")
    parser.add_argument("--keep", type=Path, help="file of results so far, which is read and written")
    parser.add_argument("--only", nargs="*", help="targets")
    parser.add_argument("--rst", type=Path, help="page to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = targets(options.sbibm)
    kept = json.loads(options.keep.read_text()) if options.keep is not None and options.keep.exists() else {}
    for name, target in known.items():
        if options.only and name not in options.only:
            continue
        results = kept.setdefault(name, {})
        torch.manual_seed(1)
        results.setdefault("floor", compared(target.exact(DRAWS), target.exact(DRAWS), target))
        for guide in GUIDES:
            if guide in results or (guide.endswith("components") and target.components == 1):
                continue
            results[guide] = measure(target, guide, options.seconds, 0)
            print(name, guide, json.dumps(results[guide]), flush=True)
            if options.keep is not None:
                options.keep.write_text(json.dumps(kept))
    if options.rst is not None:
        machine = f"{platform.machine()}, torch {torch.__version__.split('+')[0]}, Pyro {pyro.__version__}"
        write_page(options.rst, kept, options.seconds, PARTICLES, machine)


if __name__ == "__main__":
    main()
