"""Joint predictions and decisions: python benchmarks/testbed.py [--keep FOLDER] [--docs docs].

The testbed asks how far joint predictions are from the truth where the prior is known: two inputs, two classes, data
from a network that is drawn from the prior, seven numbers of examples and three temperatures. The bandit asks what
decisions are worth: Thompson sampling among 50 arms for 1,000 steps. Every family has the same prior and, on one
thread, the same CPU time. What is measured is kept in a folder, so that an interrupted run goes on; with --docs the
page docs/results/joint-predictions.rst is written.

The setting follows The Neural Testbed: Evaluating Joint Predictions (Osband, Wen, Asghari, Dwaracherla, Hao, Ibrahimi,
Lawson, Lu, O'Donoghue, Van Roy; 2022).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from testbed_families import FAMILIES, TestbedProblem, net_of, problem_of, true_probs
from testbed_page import write_page
from torch import Tensor

from bayeshnet.guides import BayesianModel

SIZES, TEMPERATURES = (1, 3, 10, 30, 100, 300, 1000), (0.01, 0.1, 0.5)
DRAWS, PAIRS, TOGETHER = 400, 2000, 10
ARMS, STEPS, REFITS, BANDIT_TEMPERATURE = 50, 1000, (20, 50, 100, 200, 400, 700), 0.1


@torch.no_grad()
def probs_of(model: BayesianModel, posterior: Any, x: Tensor, num: int, seed: int) -> Tensor:
    """Probabilities of the classes under draws of the weights ``(S, N, C)``."""
    weights = posterior.draw(num, torch.Generator().manual_seed(seed)).w
    return net_of(model, posterior).outputs(weights, x).softmax(-1)


def divergence(samples: Tensor, truth: Tensor, size: int, pairs: int = PAIRS, seed: int = 0) -> float:
    """KL from the truth of the labels of ``size`` inputs, each one of two at random, in nats; by sampled labels."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(truth), (pairs, 2), generator=generator)
    chosen = first.gather(1, torch.randint(2, (pairs, size), generator=generator))
    y = torch.multinomial(truth[chosen.flatten()], 1, generator=generator).view(pairs, size)
    floor = torch.finfo(samples.dtype).tiny
    true = truth.clamp(min=floor).log()[chosen, y].sum(1)
    each = samples.clamp(min=floor).log()[:, chosen, y].sum(2)
    return float((true - each.logsumexp(0) + math.log(len(samples))).mean())


def measure(family: str, problem: TestbedProblem) -> dict[str, float]:
    """Train a family on a problem and compare its predictions, single and joint, with the truth."""
    torch.manual_seed(0)
    model, begin = problem.model(), time.process_time()
    posterior = FAMILIES[family](model, problem, problem.seconds)
    seconds = time.process_time() - begin
    samples = probs_of(model, posterior, problem.test_x, DRAWS, 5)
    truth = true_probs(problem, problem.test_x)
    found = {"joint": divergence(samples, truth, TOGETHER), "single": divergence(samples, truth, 1)}
    return {**found, "seconds": seconds}


def play(family: str, seed: int, seconds: float) -> dict[str, Any]:
    """Play the bandit by Thompson sampling and return its regret: draw a network, choose the arm that it likes most."""
    problem = problem_of(1, BANDIT_TEMPERATURE, 100 + seed, seconds, ARMS)
    arms, truth = problem.test_x, true_probs(problem, problem.test_x)[:, 1]
    model, generator = problem.model(), torch.Generator().manual_seed(seed)
    chosen, rewards, regret, curve, spent = [], [], 0.0, [], 0.0
    draws = model.outputs(model.prior.draw(STEPS, generator).w, arms).softmax(-1)[..., 1].detach()
    for step in range(STEPS):
        if step in REFITS:
            x, y = arms[torch.tensor(chosen)], torch.tensor(rewards)
            data = TestbedProblem(
                "", "", x, y, x, y, problem.likelihood, 50, 2, {}, seconds, 0.0, 8, BANDIT_TEMPERATURE
            )
            torch.manual_seed(seed)
            begin = time.process_time()
            posterior = FAMILIES[family](model, data, seconds)
            spent += time.process_time() - begin
            draws = probs_of(model, posterior, arms, STEPS, step)[..., 1]
        arm = int(draws[step % len(draws)].argmax())
        chosen.append(arm)
        rewards.append(int(torch.rand((), generator=generator) < truth[arm]))
        regret += float(truth.max() - truth[arm])
        curve.append(regret)
    at_random = STEPS * float(truth.max() - truth.mean())
    return {"regret": regret, "random": at_random, "curve": curve[::20], "seconds": spent}


def kept(path: Path) -> dict[str, Any]:
    """Return what was measured so far, by key."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seconds", type=float, default=2.5, help="CPU seconds of each family, and of each refit")
    parser.add_argument("--seeds", type=int, default=1, help="true networks for each size and temperature")
    parser.add_argument("--games", type=int, default=3, help="games of the bandit")
    parser.add_argument("--keep", type=Path, default=Path("testbed.jsonl"), help="file of what was measured")
    parser.add_argument("--docs", type=Path, help="folder of the documentation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [
        (f"testbed/{family}/{size}/{temperature}/{seed}", family, size, temperature, seed)
        for seed in range(options.seeds)
        for size in SIZES
        for temperature in TEMPERATURES
        for family in options.families
    ]
    done = kept(options.keep)
    with options.keep.open("a") as file:

        def write(record: dict[str, Any]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        for key, family, size, temperature, seed in cases:
            if key not in done:
                problem = problem_of(size, temperature, seed, options.seconds)
                where = {"family": family, "size": size, "temperature": temperature}
                write({"key": key, "kind": "testbed", **where, **measure(family, problem)})
        for seed in range(options.games):
            for family in options.families:
                key = f"bandit/{family}/{seed}"
                if key not in done:
                    write({"key": key, "kind": "bandit", "family": family, **play(family, seed, options.seconds)})
    if options.docs is not None:
        page = options.docs / "results" / "joint-predictions.rst"
        write_page(page, list(kept(options.keep).values()), SIZES, REFITS, options.seconds)


if __name__ == "__main__":
    main()
