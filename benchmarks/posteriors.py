"""Guides on posteriors with known answers: python benchmarks/posteriors.py --sbibm DIR --gym DIR --rst PAGE.

Exact draws are known of a funnel, a banana, a cross and two modes, a grid gives those of eight schools, the package
sbibm ships reference draws of two moons, SLCP, a Gaussian mixture and a Bernoulli GLM, and inference-gym the moments of
a Brownian motion; their wheels, unpacked, are enough. Each guide gets the same processor time of one thread, with the
learning rate falling along half a cosine of it, and NUTS as much. Hierarchies are given to Pyro's guides with Pyro's
learned centring. Results are kept as they come (``--keep``), and a run goes on from them.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from auto_hypernet import Clock, Tempered
from posteriors_page import write_page
from posteriors_targets import Moments, Target, targets
from pyro import poutine
from pyro.distributions.transforms import iterated, spline_coupling
from pyro.infer import NUTS, Trace_ELBO
from pyro.infer.autoguide import (
    AutoIAFNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalizingFlow,
)
from pyro.infer.reparam import LocScaleReparam
from pyro.poutine.util import prune_subsample_sites
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import fit
from bayeshnet.metrics import sliced_wasserstein

DRAWS, PARTICLES, RATE, WARMUP = 4000, 64, 0.02, 150


def spline(model: Any) -> AutoNormalizingFlow:
    """A normalizing flow of two couplings of splines (Durkan et al., 2019; Dolatabadi et al., 2020)."""
    return AutoNormalizingFlow(model, partial(iterated, 2, spline_coupling))


OURS = ("AutoHypernet", "AutoHypernet, chosen")
GUIDES: dict[str, Callable[..., Any]] = {
    "AutoNormal": AutoNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoIAFNormal": partial(AutoIAFNormal, num_transforms=2),
    "Spline flow": spline,
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


def train_ours(target: Target, name: str, seconds: float) -> AutoHypernet:
    """Our guide; the time includes the search for the places where components begin."""
    clock, chosen = Clock(seconds), name == OURS[1]
    guide = AutoHypernet(target.model, **(target.options if chosen else {}))
    guide()
    several = guide.components > 1
    beta = clock.heat if target.modes is not None and not several else 1.0
    settings: dict[str, Any] = {"num_steps": 10**6, "lr": RATE / 2 if several else RATE, "scheduler": clock.rate}
    particles = {"num_particles": PARTICLES, "num_samples": PARTICLES}
    fit(target.model, guide, beta=beta, alarms=False, callbacks=[clock], **settings, **particles)
    return guide


def train_theirs(target: Target, name: str, seconds: float) -> Callable[[int], dict[str, Tensor]]:
    """A guide of Pyro."""
    clock = Clock(seconds)
    config = {site: LocScaleReparam() for site in target.centred}
    model = poutine.reparam(target.model, config=config) if config else target.model
    guide = GUIDES[name](model)
    guide()
    program = Tempered(clock.heat)(model) if target.modes is not None else model
    elbo = Trace_ELBO(PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    fit(program, guide, elbo=elbo, num_steps=10**6, lr=RATE, scheduler=clock.rate, callbacks=[clock])
    return partial(drawn, guide, model, target.model)


def sampled(target: Target, seconds: float) -> Callable[[int], dict[str, Tensor]]:
    """One chain of NUTS, of which what comes after the warm-up is kept."""
    clock = Clock(seconds)
    config = {site: LocScaleReparam(0.0) for site in target.centred}
    kernel = NUTS(poutine.reparam(target.model, config=config) if config else target.model)
    kernel.setup(WARMUP)
    state, kept = kernel.initial_params, []
    while clock.part < 1:
        state = kernel.sample(state)
        kept.append(state)
    kept = kept[WARMUP:] or kept[-1:]
    values = {name: torch.stack([each[name] for each in kept]) for name in state}
    values = {name: kernel.transforms[name].inv(v) if name in kernel.transforms else v for name, v in values.items()}

    def draws(num: int) -> dict[str, Tensor]:
        index = torch.arange(num) % len(kept)
        chosen = {name: value[index] for name, value in values.items()}
        return chosen if not config else uncentred(target, chosen, num)

    return draws


def uncentred(target: Target, values: dict[str, Tensor], num: int) -> dict[str, Tensor]:
    """Values of the sites of the plain model, from those of the non-centred one."""
    config = {site: LocScaleReparam(0.0) for site in target.centred}
    names = [name for name in values if not name.endswith("_decentered")]
    rows: dict[str, list[Tensor]] = {}
    for index in range(num):
        given = {name: value[index] for name, value in values.items()}
        trace = poutine.trace(poutine.condition(poutine.reparam(target.model, config=config), given)).get_trace()
        for name in [*names, *target.centred]:
            rows.setdefault(name, []).append(trace.nodes[name]["value"])
    return {name: torch.stack(row) for name, row in rows.items()}


def c2st(x: Tensor, y: Tensor) -> float:
    """Accuracy on held-out draws of a network that tells both sets apart: 0.5 for equal laws."""
    both = torch.cat([x, y])
    both = ((both - y.mean(0)) / y.std(0)).clamp(-20, 20)
    labels = np.r_[np.zeros(len(x)), np.ones(len(y))]
    parts = train_test_split(both.numpy(), labels, test_size=0.3, random_state=0, stratify=labels)
    network = MLPClassifier((32, 32), max_iter=30, early_stopping=True, random_state=0)
    return float(network.fit(parts[0], parts[2]).score(parts[1], parts[3]))


def compared(x: Tensor, target: Target) -> dict[str, Any]:
    """All measures of draws ``x`` beside exact ones or their moments."""
    torch.manual_seed(10_000)
    known = target.exact
    y = None if isinstance(known, Moments) else known(DRAWS)
    mean, std = (known.mean, known.std) if isinstance(known, Moments) else (y.mean(0), y.std(0))
    away, ratio = ((x.mean(0) - mean) / std).abs(), x.std(0) / std
    good = (away < 0.1) & ((ratio - 1).abs() < 0.1)
    found: dict[str, Any] = {
        "mean": float(away.max()),
        "std": [float(ratio.min()), float(ratio.max())],
        "good": float(good.double().mean()),
    }
    if y is None:
        return found
    found["wasserstein"] = float(sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0)))
    found["c2st"] = c2st(x[:1000], y[:1000])
    if target.modes is not None:
        shares, own = (torch.bincount(target.modes(z).long(), minlength=4) / len(z) for z in (y, x))
        found["modes"] = float((shares - own).abs().max())
    return found


def measure(target: Target, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """All measures of one guide on one target."""
    pyro.clear_param_store()
    torch.manual_seed(seed)
    if name == "NUTS":
        return compared(target.read(sampled(target, seconds)(DRAWS)), target)
    if name not in OURS:
        return compared(target.read(train_theirs(target, name, seconds)(DRAWS)), target)
    guide = train_ours(target, name, seconds)
    found = compared(target.read(guide.sample_posterior(DRAWS)), target)
    check = guide.check(
        target.model, num_samples=DRAWS // 8, num_particles=400, generator=torch.Generator().manual_seed(0)
    )
    again = guide.resample(DRAWS, target.model, num_draws=DRAWS // 4, generator=torch.Generator().manual_seed(0))
    found |= {"k_hat": check.k_hat, "effective": check.effective / check.num_samples, "missed": check.missed}
    found["reliable"] = check.reliable
    return found | {"resampled": compared(target.read(again), target)}


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="processor time for each guide")
    parser.add_argument("--sbibm", type=Path, help="folder with the unpacked wheel of sbibm")
    parser.add_argument("--gym", type=Path, help="folder with the unpacked wheel of inference-gym")
    parser.add_argument("--keep", type=Path, help="file of results so far, which is read and written")
    parser.add_argument("--only", nargs="*", help="targets")
    parser.add_argument("--rst", type=Path, help="page to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(options.keep.read_text()) if options.keep is not None and options.keep.exists() else {}
    for name, target in targets(options.sbibm, options.gym).items():
        if options.only and name not in options.only:
            continue
        results = kept.setdefault(name, {})
        if not isinstance(target.exact, Moments) and "floor" not in results:
            torch.manual_seed(1)
            results["floor"] = compared(target.exact(DRAWS), target)
        for guide in (*OURS, *GUIDES, "NUTS"):
            if guide in results or (guide == OURS[1] and not target.options):
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
