"""Simulation-based calibration of guides on the posteriors whose models can make data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from auto_hypernet import two_sided
from posteriors_methods import train_ours, train_theirs
from posteriors_records import SECONDS, SIMULATIONS, Moments, Target, package_folder
from posteriors_targets import schools, schools_non_centered
from torch import Tensor

from bayeshnet.guides import calibrate

__all__ = ["GUIDES_RANKED", "calibrated", "normal", "simulators", "smallest"]

GUIDES_RANKED = ("AutoHypernet", "AutoNormal")

DRAWS = 31


def normal() -> None:
    """A mean of known variance and five values around it: the posterior is normal."""
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 5):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.zeros(5))


def spikes_seen(design: Tensor, precision: Tensor) -> None:
    """The logistic regression of spikes with its spikes as a site."""
    theta = pyro.sample("theta", dist.MultivariateNormal(torch.zeros(len(precision)), precision_matrix=precision))
    logits = theta @ design.T
    pyro.sample("y", dist.Bernoulli(logits=logits).to_event(1), obs=torch.zeros(len(design)))


def _spikes() -> Callable[[], None]:
    design = torch.load(package_folder("sbibm") / "tasks" / "bernoulli_glm" / "files" / "design_matrix.pt")
    size = design.shape[1] - 1
    step = torch.eye(size) - torch.diag(torch.ones(size - 1), -1)
    smooth = step @ step + torch.diag((torch.arange(size) / size) ** 0.5)
    precision = torch.zeros(size + 1, size + 1)
    precision[0, 0], precision[1:, 1:] = 0.5, smooth.T @ smooth
    return partial(spikes_seen, design, precision)


def simulators() -> dict[str, Callable[[], None]]:
    """Models by the name of their posterior; the others are written by factors, or have no data."""
    return {
        "conjugate normal": normal,
        "schools, non-centered": schools_non_centered,
        "schools, centered": schools,
        "two modes": two_sided,
        "Bernoulli GLM": _spikes(),
    }


def smallest(p_values: dict[str, Tensor]) -> float:
    """The smallest of some p-values times their number, at most 1 (Bonferroni)."""
    every = torch.cat([value.reshape(-1) for value in p_values.values()])
    return min(1.0, float(every.min()) * len(every))


def calibrated(model: Callable[[], None], name: str, seconds: float = SECONDS, simulations: int = SIMULATIONS) -> float:
    """The smallest p-value, by Bonferroni, of the ranks of true values among draws of guides of one kind."""

    def fitted(fixed: Any) -> Any:
        pyro.clear_param_store()
        target = Target(fixed, Moments(torch.zeros(1), torch.ones(1)), lambda values: next(iter(values.values())))
        if name == "AutoHypernet":
            return train_ours(target, {}, seconds)
        return _Drawing(train_theirs(target, name, seconds)[0])

    noise = torch.Generator().manual_seed(0)
    found = calibrate(model, fitted, num_simulations=simulations, num_draws=DRAWS, generator=noise)
    return smallest(found.p_values())


class _Drawing:
    """A guide of Pyro as an object that draws."""

    def __init__(self, draws: Callable[[int], dict[str, Tensor]]) -> None:
        self.draws = draws

    def sample_posterior(self, num: int) -> dict[str, Tensor]:
        """Draw values of all sites."""
        return {name: value[:num] for name, value in self.draws(500).items()}
