"""The guides and the sampler that are compared on posteriors, each with the same processor time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyro
import torch
from auto_hypernet import Clock, Tempered
from posteriors_records import Target
from pyro import poutine
from pyro.distributions.transforms import iterated, spline_coupling
from pyro.infer import NUTS, Trace_ELBO
from pyro.infer.autoguide import (
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalizingFlow,
)
from pyro.infer.reparam import LocScaleReparam
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from bayeshnet.guides import AutoHypernet
from bayeshnet.inference import fit
from bayeshnet.metrics import pareto_smoothing

__all__ = ["FEW", "GUIDES", "MANY", "PARTICLES", "sampled", "train_ours", "train_theirs"]

PARTICLES, RATE, WARMUP = 64, 0.02, 150
MANY, FEW = 50, 8
"""Beyond so many unknowns our entropy is estimated from fewer latents: the cost of each grows with their square."""

Draws = Callable[[int], dict[str, Tensor]]


def spline(model: Any) -> AutoNormalizingFlow:
    """A normalizing flow of two couplings of splines (Durkan et al., 2019; Dolatabadi et al., 2020)."""
    return AutoNormalizingFlow(model, partial(iterated, 2, spline_coupling))


GUIDES: dict[str, Callable[..., Any]] = {
    "AutoNormal": AutoNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoLowRankMultivariateNormal": AutoLowRankMultivariateNormal,
    "AutoIAFNormal": partial(AutoIAFNormal, num_transforms=2),
    "Spline flow": spline,
}


def train_ours(target: Target, options: Mapping[str, Any], seconds: float) -> AutoHypernet:
    """Our guide; the time includes the search for the places where components begin."""
    clock = Clock(seconds)
    guide = AutoHypernet(target.model, **options)
    guide()
    several = guide.components > 1
    beta = clock.heat if target.modes is not None and not several else 1.0
    settings: dict[str, Any] = {"num_steps": 10**6, "lr": RATE / 2 if several else RATE, "scheduler": clock.rate}
    latents = FEW if target.unknowns > MANY else PARTICLES
    particles = {"num_particles": PARTICLES, "num_samples": latents}
    fit(target.model, guide, beta=beta, alarms=False, callbacks=[clock], **settings, **particles)
    return guide


def train_theirs(
    target: Target, name: str, seconds: float, centred: bool = True
) -> tuple[Draws, Callable[[int], float]]:
    """A guide of Pyro with learned centring or without: functions that draw from it and that find its k-hat."""
    clock = Clock(seconds)
    config = {site: LocScaleReparam() for site in target.centred if centred}
    model = poutine.reparam(target.model, config=config) if config else target.model
    guide = GUIDES[name](model)
    guide()
    program = Tempered(clock.heat)(model) if target.modes is not None else model
    elbo = Trace_ELBO(PARTICLES, vectorize_particles=True, max_plate_nesting=1)
    fit(program, guide, elbo=elbo, num_steps=10**6, lr=RATE, scheduler=clock.rate, callbacks=[clock])
    return partial(_drawn, guide, model, target.model), partial(_k_hat, guide, model)


def _runs(guide: Any, model: Any, num: int) -> tuple[Any, Any]:
    """Traces of a guide and of its model, with ``num`` draws in the second dimension from the right."""
    with pyro.plate("draws", num, dim=-2):
        trace = poutine.trace(guide).get_trace()
        return trace, poutine.trace(poutine.replay(model, trace=trace)).get_trace()


@torch.no_grad()
def _drawn(guide: Any, model: Any, plain: Any, num: int) -> dict[str, Tensor]:
    """Draws ``(num, *shape)`` of the sites of the plain model from a guide of the model, centred or not."""
    trace = prune_subsample_sites(poutine.trace(plain).get_trace())
    sites = {name: site["value"].shape for name, site in trace.iter_stochastic_nodes()}
    parts = []
    for count in [500] * (num // 500):
        _, run = _runs(guide, model, count)
        parts.append({name: run.nodes[name]["value"].reshape(count, *shape) for name, shape in sites.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in sites}


@torch.no_grad()
def _k_hat(guide: Any, model: Any, num: int) -> float:
    """The shape of the tail of the importance weights of draws."""
    densities = []
    for trace in _runs(guide, model, num):
        trace.compute_log_prob()
        sites = [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample" and "log_prob" in site]
        densities.append(sum(each.sum(-1) for each in sites if each.dim() > 1 and len(each) == num))
    found = (densities[1] - densities[0]).double()
    known = found[found.isfinite()]
    return pareto_smoothing(known).k_hat if len(known) > num // 2 else float("inf")


def sampled(target: Target, seconds: float) -> Draws:
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
    values = _uncentred(target, values, len(kept)) if config else values
    return lambda num: {name: value[torch.arange(num) % len(value)] for name, value in values.items()}


def _uncentred(target: Target, values: dict[str, Tensor], num: int) -> dict[str, Tensor]:
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
