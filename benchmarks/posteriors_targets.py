"""Posteriors with known answers: models in Pyro, exact or reference draws, and what is read of the unknowns."""

from __future__ import annotations

import bz2
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from auto_hypernet import banana, exact_banana, exact_funnel, exact_two_sided, funnel, two_sided
from posteriors_gym import GYM
from posteriors_networks import targets_of_networks
from posteriors_records import Target, columns, package_folder
from torch import Tensor

from bayeshnet.guides import Flip

__all__ = ["makers"]

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools(spread: Any = None, width: float = 5.0) -> None:
    """Eight schools (Rubin, 1981), centered."""
    mu = pyro.sample("mu", dist.Normal(0.0, width))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0) if spread is None else spread)
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


def exact_schools(num: int, spread: Any = None, width: float = 5.0) -> Tensor:
    """Independent draws ``(num, 10)`` of mu, log tau and theta: the first two from a grid, theta given these."""
    log_tau, mu = torch.meshgrid(torch.linspace(-12, 10, 2200), torch.linspace(-30, 40, 1000), indexing="ij")
    law = dist.HalfCauchy(5.0) if spread is None else spread
    density = dist.Normal(0.0, width).log_prob(mu) + law.log_prob(log_tau.exp()) + log_tau
    for effect, error in zip(EFFECTS, ERRORS, strict=True):
        density = density + dist.Normal(mu, (log_tau.exp() ** 2 + error**2).sqrt()).log_prob(effect)
    index = torch.multinomial((density - density.max()).exp().flatten(), num, replacement=True)
    mu, log_tau = mu.flatten()[index, None], log_tau.flatten()[index, None]
    precision = 1 / ERRORS**2 + (-2 * log_tau).exp()
    mean = (EFFECTS / ERRORS**2 + mu * (-2 * log_tau).exp()) / precision
    return torch.cat([mu, log_tau, mean + torch.randn(num, 8) / precision.sqrt()], 1)


_FOREMOST = ("schools, centered", "schools, wide spread", "SLCP", "two moons", "X", "radon", "German credit")

CROSS = torch.tensor([[[2.0, 1.8], [1.8, 2.0]], [[2.0, -1.8], [-1.8, 2.0]]])


def crossing() -> None:
    """Two long normals that cross each other at right angles."""
    prior = dist.Normal(torch.zeros(2), 5.0).to_event(1)
    x = pyro.sample("x", prior)
    parts = dist.MultivariateNormal(torch.zeros(2), CROSS).log_prob(x.unsqueeze(-2))
    pyro.factor("seen", parts.logsumexp(-1) - math.log(2) - prior.log_prob(x))


def exact_crossing(num: int) -> Tensor:
    """Independent draws ``(num, 2)``."""
    root = torch.linalg.cholesky(CROSS)[torch.randint(2, (num,))]
    return (root @ torch.randn(num, 2, 1)).squeeze(-1)


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
    mean = pyro.sample("mean", dist.Uniform(-3.0, 3.0).expand([2]).to_event(1))
    first, second = (pyro.sample(name, dist.Uniform(-3.0, 3.0)) ** 2 + 1e-6 for name in ("first", "second"))
    rho = pyro.sample("rho", dist.Uniform(-3.0, 3.0)).tanh() * (1 - 1e-6)
    away = seen.reshape(4, 2) - mean.unsqueeze(-2)
    a, b = away[..., 0] / first.unsqueeze(-1), away[..., 1] / second.unsqueeze(-1)
    rest = (1 - rho**2).unsqueeze(-1)
    square = (a**2 - 2 * rho.unsqueeze(-1) * a * b + b**2) / rest
    density = -0.5 * square.sum(-1) - 4 * (first.log() + second.log()) - 2 * rest.squeeze(-1).log()
    pyro.factor("seen", density)


def mixture(seen: Tensor) -> None:
    """One mean of a wide and of a narrow normal, of which one draw is seen (Sisson, Fan, Tanaka, 2007)."""
    theta = pyro.sample("theta", dist.Uniform(-10.0, 10.0).expand([2]).to_event(1))
    each = dist.Normal(theta.unsqueeze(-2), torch.tensor([[1.0], [0.1]])).log_prob(seen).sum(-1)
    pyro.factor("seen", each.logsumexp(-1) - math.log(2))


def spikes(design: Tensor, seen: Tensor) -> None:
    """Spikes of a neuron given its stimulus (Lueckmann et al., 2017): a logistic regression with a smooth prior."""
    size = design.shape[1] - 1
    step = torch.eye(size) - torch.diag(torch.ones(size - 1), -1)
    smooth = step @ step + torch.diag((torch.arange(size) / size) ** 0.5)
    precision = torch.zeros(size + 1, size + 1)
    precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
    theta = pyro.sample("theta", dist.MultivariateNormal(torch.zeros(size + 1), precision_matrix=precision))
    pyro.factor("seen", dist.Bernoulli(logits=theta @ design.T).log_prob(seen).sum(-1))


def _flat(values: dict[str, Tensor]) -> Tensor:
    return torch.stack([v.log() if k == "scale" else v for k, v in values.items()], 1)


def _one(name: str) -> Callable[[dict[str, Tensor]], Tensor]:
    return lambda values: values[name]


def _schools(values: dict[str, Tensor]) -> Tensor:
    mu, tau = values["mu"], values["tau"]
    theta = values["theta"] if "theta" in values else mu[:, None] + tau[:, None] * values["eta"]
    return torch.cat([mu[:, None], tau.log()[:, None], theta], 1)


def _shipped(task: str, file: str = "observation.csv") -> tuple[Tensor, Callable[[int], Tensor]]:
    """The first observation of a task of sbibm, and a function that takes of its reference draws."""
    place = package_folder("sbibm") / "tasks" / task / "files" / "num_observation_1"
    seen = np.loadtxt(place / file, delimiter=",", skiprows=1)
    with bz2.open(place / "reference_posterior_samples.csv.bz2", "rt") as unpacked:
        draws = torch.as_tensor(np.loadtxt(unpacked, delimiter=",", skiprows=1), dtype=torch.float32)
    return torch.as_tensor(seen, dtype=torch.float32), lambda num: draws[torch.randperm(len(draws))[:num]]


def _two_moons() -> Target:
    seen, draws = _shipped("two_moons")
    return Target(partial(two_moons, seen), draws, _one("theta"), lambda x: x.sum(1) > 0, options={"components": 4})


def _slcp() -> Target:
    seen, draws = _shipped("slcp")
    both = {"components": 4, "symmetries": (Flip(["first"]), Flip(["second"]))}
    return Target(
        partial(slcp, seen),
        draws,
        columns("mean", "first", "second", "rho"),
        lambda x: 2 * (x[:, 2] > 0) + (x[:, 3] > 0),
        options=both,
        others={"eight components": {"components": 8}},
        longer=4.0,
    )


def _mixture() -> Target:
    seen, draws = _shipped("gaussian_mixture")
    return Target(partial(mixture, seen), draws, _one("theta"), options={"components": 4})


def _spikes() -> Target:
    seen, draws = _shipped("bernoulli_glm", "observation_raw.csv")
    design = torch.load(package_folder("sbibm") / "tasks" / "bernoulli_glm" / "files" / "design_matrix.pt")
    return Target(partial(spikes, design, seen), draws, _one("theta"))


def _made() -> dict[str, Callable[[], Target]]:
    """Makers of the targets that need no package."""
    wide, heavy = dist.LogNormal(5.0, 1.0), {"tails": 1.5}
    far = partial(exact_schools, spread=wide, width=10.0)
    sides: dict[str, Any] = {"modes": lambda x: x[:, 0] > 0, "options": {"components": 2}}
    return {
        "schools, centered": partial(Target, schools, exact_schools, _schools, None, ("theta",), heavy),
        "schools, non-centered": partial(Target, schools_non_centered, exact_schools, _schools, None, (), heavy),
        "schools, wide spread": partial(Target, partial(schools, wide, 10.0), far, _schools, None, ("theta",), heavy),
        "funnel": partial(Target, funnel, exact_funnel, _flat, None, ("x",), heavy),
        "banana": partial(Target, banana, exact_banana, _flat, options={"components": 2}),
        "X": partial(Target, crossing, exact_crossing, _one("x"), options={"components": 4}),
        "two modes": partial(Target, two_sided, exact_two_sided, _flat, **sides),
    }


def makers(keep: Path | None = None) -> dict[str, Callable[[], Target]]:
    """Makers of all targets by name; long runs of a sampler are kept beside the file ``keep``."""
    shipped = {"two moons": _two_moons, "SLCP": _slcp, "Gaussian mixture": _mixture, "Bernoulli GLM": _spikes}
    found = {**_made(), **shipped, **GYM, **targets_of_networks(keep)}
    return {name: found[name] for name in (*_FOREMOST, *(name for name in found if name not in _FOREMOST))}
