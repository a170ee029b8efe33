"""AutoHypernet beside Pyro's guides at equal time: python benchmarks/auto_hypernet.py [--rst docs/auto-hypernet.rst].

Three posteriors of which exact samples are known: a funnel, a banana, and one with two modes. Each guide gets the same
processor time of one thread, measured in the run, with the learning rate falling along half a cosine of that time.
What counts is the sliced Wasserstein distance of 20,000 draws to as many exact ones; the floor is that between two
exact samples.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from auto_hypernet_page import write_page
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal
from pyro.poutine.messenger import Messenger
from torch import Tensor

from bayeshnet.distributions.flat import Flat
from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import Callback, Run, fit
from bayeshnet.metrics import sliced_wasserstein

DRAWS, PARTICLES, LATENTS, RATE, HEAT = 20_000, 256, 128, 0.02, 30.0


def funnel() -> None:
    """Draw a scale, and a value of that scale: the prior of every hierarchical model."""
    v = pyro.sample("v", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))


def exact_funnel(num: int) -> Tensor:
    """Independent draws ``(num, 2)``."""
    v = torch.randn(num)
    return torch.stack([v, (v / 2).exp() * torch.randn(num)], 1)


def banana() -> None:
    """Draw a value, and another one near its square."""
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x**2, 0.3))


def exact_banana(num: int) -> Tensor:
    """Independent draws ``(num, 2)``."""
    x = torch.randn(num)
    return torch.stack([x, x**2 + 0.3 * torch.randn(num)], 1)


SEEN = torch.tensor([1.9, 2.6, 2.2, 1.4, 2.4, 1.7, 2.9, 2.1])


def two_sided() -> None:
    """Observe values around the modulus of a mean, whose sign they say nothing about."""
    mean = pyro.sample("mean", dist.Normal(0.0, 3.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(SEEN)):
        pyro.sample("y", dist.Normal(mean.abs(), scale), obs=SEEN)


def exact_two_sided(num: int) -> Tensor:
    """Independent draws ``(num, 2)`` of mean and logarithm of the scale, from a fine grid."""
    mean, log_scale = torch.meshgrid(torch.linspace(0.002, 8, 2000), torch.linspace(-4, 3, 1500), indexing="ij")
    log_p = dist.Normal(0.0, 3.0).log_prob(mean) + dist.Normal(0.0, 1.0).log_prob(log_scale)
    for y in SEEN:
        log_p = log_p + dist.Normal(mean, log_scale.exp()).log_prob(y)
    index = torch.multinomial((log_p - log_p.max()).exp().flatten(), num, replacement=True)
    sign = torch.randint(2, (num,)) * 2 - 1
    return torch.stack([sign * mean.flatten()[index], log_scale.flatten()[index]], 1)


@dataclass(frozen=True)
class Target:
    """A posterior: its model, exact draws, and whether guides may begin hot."""

    model: Callable[[], None]
    exact: Callable[[int], Tensor]
    hot: bool = False


TARGETS = {
    "funnel": Target(funnel, exact_funnel),
    "banana": Target(banana, exact_banana),
    "two modes": Target(two_sided, exact_two_sided, hot=True),
}
GUIDES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "AutoHypernet": (AutoHypernet, {"num_samples": LATENTS}),
    "AutoNormal": (AutoNormal, {}),
    "AutoMultivariateNormal": (AutoMultivariateNormal, {}),
    "AutoIAFNormal": (AutoIAFNormal, {}),
    "the same, 2 transforms": (AutoIAFNormal, {"num_transforms": 2}),
    "the same, annealed too": (AutoIAFNormal, {"num_transforms": 2}),
}


class Clock(Callback):
    """Ends a run after so many seconds of processor time; schedules ask it how much of them has passed."""

    def __init__(self, seconds: float) -> None:
        """Begin to count."""
        self.seconds, self.begin = seconds, time.process_time()

    @property
    def part(self) -> float:
        """Part of the time that has passed."""
        return min((time.process_time() - self.begin) / self.seconds, 1.0)

    def on_step(self, run: Run) -> None:
        """Stop if the time is over."""
        if self.part >= 1:
            run.stop("time")

    def rate(self, step: int) -> float:
        """Half a cosine."""
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.part))

    def heat(self, step: int = 0) -> float:
        """Temperature, from :data:`HEAT` to 1 in half of the time."""
        return float(HEAT ** max(0.0, 1 - 2 * self.part))


class Tempered(Messenger):
    """Divides the log-likelihood by the temperature, which is what ``fit(beta=...)`` does to the KL."""

    def __init__(self, heat: Callable[[], float]) -> None:
        """Keep the temperature."""
        super().__init__()
        self.heat = heat

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"]:
            msg["scale"] = msg["scale"] / self.heat()


def train(target: Target, name: str, seconds: float, seed: int) -> tuple[Any, int]:
    """A trained guide and the number of steps that the time was good for."""
    pyro.clear_param_store()
    torch.manual_seed(seed)
    clock = Clock(seconds)
    kind, options = GUIDES[name]
    guide, model = kind(target.model, **options), target.model
    guide()
    settings: dict[str, Any] = {"num_steps": 10**6, "lr": RATE, "scheduler": clock.rate, "callbacks": [clock]}
    if kind is AutoHypernet:
        settings |= {"num_particles": PARTICLES, "beta": clock.heat if target.hot else 1.0}
    else:
        settings["elbo"] = Trace_ELBO(PARTICLES, vectorize_particles=True, max_plate_nesting=1)
        if name.endswith("annealed too"):
            model = Tempered(clock.heat)(model)
    return guide, fit(model, guide, **settings).steps


@torch.no_grad()
def draws_of(guide: Any) -> Tensor:
    """Draws ``(DRAWS, 2)`` of the unconstrained unknowns."""
    with pyro.plate("draws", DRAWS, dim=-2):
        values = guide()
    return torch.stack([v.log().flatten() if k == "scale" else v.flatten() for k, v in values.items()], 1)


@torch.no_grad()
def audit(guide: AutoHypernet) -> tuple[float, float, float]:
    """Negative entropy in nats as training estimated it, and the ends of the interval of its audit."""
    claimed = guide.estimator.estimate(guide.distribution(), Flat(2), 2000).value
    found = guide.audit()
    return tuple(float(v) for v in (claimed, found.lower, found.upper) if v is not None)  # type: ignore[return-value]


def measure(name: str, target: Target, seconds: float, seeds: int) -> dict[str, Any]:
    """Distances, steps and audits on one target."""
    torch.manual_seed(10_000)
    reference = target.exact(DRAWS)

    def distance(x: Tensor) -> float:
        return float(sliced_wasserstein(x, reference, generator=torch.Generator().manual_seed(0)))

    floor = statistics.mean(distance(target.exact(DRAWS)) for _ in range(3))
    found: dict[str, Any] = {"floor": floor, "distances": {}, "steps": {}, "audit": []}
    print(f"{name}: floor {floor:.3f}", flush=True)
    for guide_name in GUIDES:
        if guide_name.endswith("annealed too") and not target.hot:
            continue
        distances, steps = [], []
        for seed in range(seeds):
            guide, count = train(target, guide_name, seconds, seed)
            distances.append(distance(draws_of(guide)))
            steps.append(count)
            if isinstance(guide, AutoHypernet):
                found["audit"].append(audit(guide))
        found["distances"][guide_name], found["steps"][guide_name] = distances, statistics.mean(steps)
        print(f"{name}: {guide_name:24} {[round(d, 3) for d in distances]} in {steps} steps", flush=True)
    return found


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="processor time for each guide")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each guide")
    parser.add_argument("--rst", type=Path, help="page to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in GUIDES:
        train(TARGETS["two modes"], name, 0.1, 0)  # what Python and torch do once is nobody's time
    results = {name: measure(name, target, options.seconds, options.seeds) for name, target in TARGETS.items()}
    print(results)
    if options.rst is not None:
        machine = f"{platform.machine()}, torch {torch.__version__.split('+')[0]}, Pyro {pyro.__version__}"
        write_page(options.rst, results, options.seconds, options.seeds, machine)


if __name__ == "__main__":
    main()
