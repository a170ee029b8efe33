"""Guides on posteriors with known answers: python benchmarks/posteriors.py --keep FILE --rst PAGE.

Exact draws are known of a funnel, a banana, a cross and two modes, a grid gives those of eight schools, the package
sbibm ships reference draws of two moons, SLCP, a Gaussian mixture and a Bernoulli GLM, inference-gym the moments of
long runs on hierarchies, regressions and time series, and long runs of the library's sampler stand for small networks.
``pip install 'bayeshnet[bench]'`` brings the packages. Each guide gets the same processor time of one thread, with the
learning rate falling along half a cosine of it, and NUTS as much. Hierarchies are given to Pyro's guides with and
without Pyro's learned centring. Results are kept as they come (``--keep``), and a run goes on from them.
"""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from posteriors_calibration import GUIDES_RANKED, calibrated, simulators
from posteriors_methods import GUIDES, PARTICLES, sampled, train_ours, train_theirs
from posteriors_page import NOT_CENTRED, write_page
from posteriors_records import Moments, Target
from posteriors_targets import makers
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from bayeshnet.metrics import sliced_wasserstein

DRAWS, JUDGED, CLOUD, WIDE = 4000, 400, 200, 200
FIRST = ("AutoHypernet", "AutoNormal", "AutoMultivariateNormal", "AutoIAFNormal")
"""These are measured on all targets before any other."""


def c2st(x: Tensor, y: Tensor) -> float:
    """Accuracy on held-out draws of a network that tells both sets apart: 0.5 for equal laws."""
    both = torch.cat([x, y])
    both = ((both - y.mean(0)) / y.std(0)).clamp(-20, 20)
    labels = np.r_[np.zeros(len(x)), np.ones(len(y))]
    parts = train_test_split(both.numpy(), labels, test_size=0.3, random_state=0, stratify=labels)
    network = MLPClassifier((32, 32), max_iter=30, early_stopping=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that thirty epochs are not all
        return float(network.fit(parts[0], parts[2]).score(parts[1], parts[3]))


def compared(x: Tensor, target: Target) -> dict[str, Any]:
    """All measures of draws ``x`` beside exact ones or their moments."""
    torch.manual_seed(10_000)
    known = target.exact
    y = None if isinstance(known, Moments) else known(DRAWS)
    mean, std = (known.mean, known.std) if isinstance(known, Moments) else (y.mean(0), y.std(0))
    away, ratio = ((x.mean(0) - mean) / std).abs(), x.std(0) / std
    wrong = torch.maximum(away, (ratio - 1).abs())
    found: dict[str, Any] = {
        "mean": float(away.max()),
        "std": [float(ratio.min()), float(ratio.max())],
        "good": float(((away < 0.1) & ((ratio - 1).abs() < 0.1)).double().mean()),
        "far": float((wrong > 0.25).double().mean()),
        "unknowns": len(mean),
    }
    if y is None:
        return found
    found["wasserstein"] = float(sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0)))
    found["c2st"] = c2st(x[:1000], y[:1000])
    if target.modes is not None:
        shares, own = (torch.bincount(target.modes(z).long(), minlength=4) / len(z) for z in (y, x))
        found["modes"] = float((shares - own).abs().max())
    return found


def methods(target: Target) -> list[str]:
    """Names of all that is compared on a target; couplings of splines are too wide for many unknowns."""
    ours = ["AutoHypernet", *(["AutoHypernet, chosen"] if target.options else [])]
    ours += [f"AutoHypernet, {name}" for name in target.others]
    theirs = [name for name in GUIDES if name != "Spline flow" or target.unknowns <= WIDE]
    twins = [name + NOT_CENTRED for name in theirs] if target.centred else []
    return [*ours, *theirs, *twins, "NUTS"]


def measure(target: Target, name: str, seconds: float, seed: int) -> dict[str, Any]:
    """All measures of one guide on one target."""
    pyro.clear_param_store()
    torch.manual_seed(seed)
    if name == "NUTS":
        return compared(target.read(sampled(target, seconds)(DRAWS)), target)
    kind, _, option = name.partition(", ")
    if kind != "AutoHypernet":
        draws, k_hat = train_theirs(target, kind, seconds, not option)
        found = compared(target.read(draws(DRAWS)), target)
        return found | {"k_hat": k_hat(JUDGED)}
    options = {"": {}, "chosen": target.options, **target.others}[option]
    guide = train_ours(target, options, seconds)
    found = compared(target.read(guide.sample_posterior(DRAWS)), target)
    noise = torch.Generator().manual_seed(0)
    if not target.judged:
        return found
    searched = CLOUD if target.judged == JUDGED else 0
    check = guide.check(target.model, num_samples=target.judged, num_particles=searched, generator=noise)
    again = guide.resample(DRAWS, target.model, num_draws=2 * target.judged, generator=noise)
    found |= {"k_hat": check.k_hat, "effective": check.effective / check.num_samples, "missed": check.missed}
    found |= {"reliable": check.reliable, "shift": check.shift}
    return found | {"resampled": compared(target.read(again), target)}


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="processor time for each guide, more where it says so"
    )
    parser.add_argument("--keep", type=Path, help="file of results so far, which is read and written")
    parser.add_argument("--only", nargs="*", help="targets")
    parser.add_argument("--rst", type=Path, help="page to write")
    parser.add_argument("--draw-only", action="store_true", help="write the page of what is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(options.keep.read_text()) if options.keep is not None and options.keep.exists() else {}
    chosen = {} if options.draw_only else makers(options.keep)
    for part, (name, maker) in product((FIRST, None), chosen.items()):
        if options.only and name not in options.only:
            continue
        target = maker()
        results = kept.setdefault(name, {})
        if not isinstance(target.exact, Moments) and "floor" not in results:
            torch.manual_seed(1)
            results["floor"] = compared(target.exact(DRAWS), target)
        for method in methods(target):
            if method in results or (part is not None and method.partition(",")[0] not in part):
                continue
            if part is not None and method.endswith(NOT_CENTRED):
                continue
            seconds = target.longer * options.seconds
            try:
                results[method] = measure(target, method, seconds, 0) | {"seconds": seconds}
            except (ValueError, RuntimeError) as error:  # what Pyro and torch say of numbers that are none
                results[method] = {"failed": str(error).splitlines()[0][:200]}
            print(name, method, json.dumps(results[method]), flush=True)
            if options.keep is not None:
                options.keep.write_text(json.dumps(kept))
    ranks = None if options.keep is None else options.keep.with_suffix(".calibration.json")
    p_values = json.loads(ranks.read_text()) if ranks is not None and ranks.exists() else {}
    for (name, model), kind in product(simulators().items(), GUIDES_RANKED):
        if kind in p_values.setdefault(name, {}) or options.draw_only or options.only:
            continue
        p_values[name][kind] = calibrated(model, kind)
        print(name, kind, p_values[name][kind], flush=True)
        if ranks is not None:
            ranks.write_text(json.dumps(p_values))
    if options.rst is not None:
        machine = f"{platform.machine()}, torch {torch.__version__.split('+')[0]}, Pyro {pyro.__version__}"
        rest = [name for name in makers() if len(kept.get(name, {})) < 2]
        write_page(options.rst, kept, options.seconds, PARTICLES, machine, rest, p_values)


if __name__ == "__main__":
    main()
