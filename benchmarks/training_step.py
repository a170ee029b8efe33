"""Time the training step of continual learning: python benchmarks/training_step.py [--steps 80] [--rst FILE].

For eight published configurations of posterior meta-replay, CPU milliseconds of a complete step (likelihood under all
weight samples, KL, regularizer over old tasks, optimizer) of the library, beside a plain loop in the published manner
on networks of hypnettorch, at task 2 and at the last one. Both take turns in one process on one thread; medians. The
library's step is that of ``fit``, with everything that it checks and records, in whitened weights.

Columns: ``published``; ``library``, with the estimator of the same name and all old tasks in the regularizer; ``one
old task``, the same with one old task drawn per step; ``LIVI``, the library's default in place of SSGE and AVB, and
``local noise``, the noise of mean-field posteriors drawn in pre-activations, both with all old tasks; behind each how
many times the published step takes as long. ``floor`` is what the matrix products, the random numbers and the
optimizer of the library's step take alone, recorded in a step and run again; behind it how many times as long the
step takes. A line below the table takes local noise for the mean-field configuration of long weight vectors, where it
is quicker, and the library's column elsewhere. The likelihood sees as many weight samples as in the configuration.
Both regularizers know targets computed once: the published one the generator's outputs, the library's the weights
that these make of 16 latents, two of which are drawn per step.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from training_configurations import CONFIGURATIONS, NUM_DATA, Configuration, build_networks, make_data
from training_floor import Floor
from training_step_page import write_page

from bayeshnet import hnets
from bayeshnet.builders import PosteriorBuilder
from bayeshnet.continual import OutputRegularizer
from bayeshnet.continual.task_posterior import GeneratedTasks
from bayeshnet.distributions import GeneratedPosterior, HypernetPosterior
from bayeshnet.estimators import AVB, LIVI, SSGE, ClosedForm, KLEstimator
from bayeshnet.guides import BayesianModel, Categorical, Gaussian, HypernetGuide
from bayeshnet.inference import Callback, fit
from bayeshnet.inference.run import Run
from bayeshnet.mnets import MLP, OutputView
from bayeshnet.weights import WeightSpec

WARM_UP, ROUNDS = 5, 8
COLUMNS = ("library", "one old task", "LIVI", "local noise")
LONG = "split_bbb"
"""The mean-field configuration of long weight vectors, for which local noise is quicker."""
CHOSEN = f"library, with local noise for {LONG}"
WIDE = "split_"
"""The beginning of the names of configurations whose steps consist of large matrix products."""
LIMITS = {"library": None, "one old task": 1}
TARGETS = 16


class Generators(PosteriorBuilder):
    """The conditional posterior of a configuration."""

    def __init__(self, configuration: Configuration) -> None:
        """Keep the configuration."""
        super().__init__()
        self.configuration = configuration

    def build(self, spec: WeightSpec) -> Any:
        """Build the hypernetworks around it."""
        c = self.configuration
        _, inner, outer = build_networks(hnets, MLP, c)
        if outer is None:
            return GeneratedPosterior(inner, "mean_field", scale=self.whitening(spec), weight_spec=spec)
        return HypernetPosterior(inner, sigma=c.noise, weights=outer, scale=self.whitening(spec), weight_spec=spec)


class Clock(Callback):
    """CPU seconds of each step."""

    def __init__(self) -> None:
        """Start empty."""
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_start(self, run: Run) -> None:
        """Remember when."""
        self.last = time.process_time()

    def on_step(self, run: Run) -> None:
        """Note how long the step took."""
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.losses.append(run.parts["loss"])
        self.last = time.process_time()


class LibraryStep:
    """Steps of the library in one configuration at ``task`` (from 0), with an estimator of the KL."""

    def __init__(
        self, c: Configuration, task: int, estimator: KLEstimator, max_tasks: int | None = None, local: bool = False
    ) -> None:
        """Build posterior, model and regularizer."""
        self.c, self.local, self.generator = c, local, torch.Generator().manual_seed(0)
        net = MLP(n_in=c.sizes[0], n_out=c.sizes[-1], hidden_layers=c.sizes[1:-1], no_weights=True, verbose=False)
        posterior = GeneratedTasks(Generators(c), net.weight_spec)
        for _ in range(task + 1):
            posterior.grow()
        distance = c.distance if c.method == "bbb" else "squared"
        regularizer = OutputRegularizer(
            c.strength / NUM_DATA, max_tasks=max_tasks, distance=distance, fixed_targets=TARGETS
        )
        penalty = regularizer.penalty(posterior, copy.deepcopy(posterior), task, self.generator)
        view = OutputView(net, task * c.per_task, (task + 1) * c.per_task) if c.per_task else net
        likelihood = Categorical() if c.per_task else Gaussian(0.05)
        self.model = BayesianModel(view, posterior.prior(torch.zeros(())), likelihood, NUM_DATA)
        self.guide = HypernetGuide(posterior, estimator).condition(task)
        self.penalties = [penalty]

    def run(self, data: tuple[Tensor, Tensor], steps: int, callbacks: Sequence[Callback] = ()) -> Clock:
        """Make steps with a new optimizer."""
        c, clock = self.c, Clock()
        fit(
            self.model,
            self.guide,
            data,
            num_steps=steps,
            batch_size=c.batch,
            lr=c.lr,
            beta=c.kl_scale,
            num_particles=c.samples,
            penalties=self.penalties,
            grad_clip=c.clip,
            callbacks=[clock, *callbacks],
            local_noise=self.local,
            generator=self.generator,
        )
        return clock


def own_estimator(c: Configuration) -> KLEstimator:
    """The library's estimator of the configuration's name and settings."""
    if c.method == "bbb":
        return ClosedForm()
    if c.method == "ssge":
        return SSGE(max(c.score_samples, c.samples), width=c.width, threshold=c.threshold)
    return AVB(c.discriminator, c.kl_samples, batch_size=c.contrast_batch, steps=1, lr=c.lr, contrast_draws=c.contrast)


def library_steps(c: Configuration, task: int) -> dict[str, LibraryStep]:
    """The library's columns."""
    steps = {
        name: LibraryStep(c, task, own_estimator(c), limit) for name, limit in zip(COLUMNS, (None, 1), strict=False)
    }
    if c.method == "bbb":
        steps["local noise"] = LibraryStep(c, task, ClosedForm(), local=True)
    else:
        steps["LIVI"] = LibraryStep(c, task, LIVI())
    return steps


def load_published() -> Callable[[Configuration, int], Any] | None:
    """Load the function that makes published steps; None where hypnettorch is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from hypnettorch import hnets as theirs
            from hypnettorch.hnets.hnet_perturbation_wrapper import HPerturbWrapper
            from hypnettorch.mnets import mlp
    except ImportError:
        return None
    from published_step import published_step

    return lambda c, task: published_step(theirs, mlp.MLP, HPerturbWrapper, c, task)


def time_published(step: Any, c: Configuration, data: tuple[Tensor, Tensor], steps: int) -> list[float]:
    """CPU seconds of each of ``steps`` steps."""
    seconds = []
    for _ in range(steps):
        begin = time.process_time()
        rows = torch.randint(NUM_DATA, (c.batch,))
        step(data[0][rows], data[1][rows])
        seconds.append(time.process_time() - begin)
    return seconds


def measure(c: Configuration, task: int, steps: int, published: Callable[..., Any] | None) -> dict[str, float]:
    """Median CPU milliseconds of each column, all taking turns; another one begins each round."""
    torch.manual_seed(0)
    data = make_data(c, torch.Generator().manual_seed(0))
    ours = library_steps(c, task)
    columns: dict[str, Callable[[int], list[float]]] = {}
    if published is not None:
        theirs = published(c, task)
        columns["published"] = lambda count: time_published(theirs, c, data, count)
    for name, step in ours.items():
        columns[name] = lambda count, step=step: step.run(data, count).seconds
    for name in ("library", "local noise") if c.name == LONG else ("library",):
        step = ours[name]
        columns[f"floor of {name}"] = Floor(lambda count, calls, step=step: step.run(data, count, calls)).seconds
    seconds: dict[str, list[float]] = {name: [] for name in columns}
    names, count = list(columns), WARM_UP + math.ceil(steps / ROUNDS)
    for turn in range(ROUNDS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].extend(columns[name](count)[WARM_UP:])
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def row(c: Configuration, task: int, found: dict[str, float]) -> list[str]:
    """The cells of a line of the table."""
    theirs = found.get("published", math.nan)
    cells = [f"{found[name]:.2f} ({theirs / found[name]:.1f})" if name in found else "" for name in COLUMNS]
    floor = found["floor of library"]
    return [c.name, str(task + 1), f"{theirs:.1f}", *cells, f"{floor:.2f} ({found['library'] / floor:.1f})"]


def summary(results: Sequence[dict[str, float]]) -> list[str]:
    """Geometric mean and least of the ratios of each column, and of the quicker way to draw in each configuration."""
    lines = []
    for name in (*COLUMNS, CHOSEN):
        ratios = [found["published"] / found[name] for found in results if name in found and "published" in found]
        if ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            lines.append(f"{name}: geometric mean {mean:.2f}, least {min(ratios):.2f} of {len(ratios)} ratios")
    for name in ("library", "local noise"):
        key = f"floor of {name}"
        times = [found[name] / found[key] for found in results if found.get(WIDE) and key in found]
        if times:
            lines.append(f"{name}, wide configurations: at most {max(times):.2f} times the floor ({len(times)} steps)")
            wide = [found for found in results if found.get(WIDE) and key in found and "published" in found]
            if wide:
                least = min(found["published"] / found[key] for found in wide)
                lines.append(f"{name}, wide configurations: at their floor the ratios would be {least:.2f} and more")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=80, help="steps per column")
    parser.add_argument("--rst", type=Path, help="page of the documentation to write")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    published = load_published()
    header = ["configuration", "task", "published", *COLUMNS, "floor"]
    print("CPU milliseconds per step (how many times the published step takes as long)\n")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    results, rows = [], []
    for name in arguments.only:
        c = CONFIGURATIONS[name]
        for task in (1, c.num_tasks - 1):
            found = measure(c, task, arguments.steps, published)
            chosen = found["local noise" if name == LONG else "library"]
            results.append({**found, CHOSEN: chosen, WIDE: float(name.startswith(WIDE))})
            rows.append(row(c, task, results[-1]))
            print("| " + " | ".join(rows[-1]) + " |", flush=True)
    print("", *summary(results), sep="\n")
    if arguments.rst is not None:
        write_page(arguments.rst, header, rows, summary(results))


if __name__ == "__main__":
    main()
