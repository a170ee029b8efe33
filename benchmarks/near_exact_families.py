"""Families of posteriors of the study of exactness, each trained for the same CPU time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from near_exact_problems import Problem
from torch import Tensor, nn

from bayeshnet.builders.initialization import init_hypernetwork
from bayeshnet.distributions import (
    DiracPosterior,
    HypernetPosterior,
    LearnedSigma,
    LowRankPosterior,
    MeanFieldPosterior,
    Mixture,
    WeightPosterior,
)
from bayeshnet.guides import BayesianModel, HypernetGuide
from bayeshnet.hnets import HMLP
from bayeshnet.inference import BatchedHMC, DrawnPosterior, LinearWarmup, fit, reference_posterior

__all__ = ["FAMILIES", "hypernetwork", "long_run", "sampled_for"]

PARTS = 5


class Parts(WeightPosterior):
    """An even mixture of posteriors that were trained one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        """Keep the parts."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.weight_spec = parts[0].weight_spec

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> Mixture:
        """Return the mixture."""
        return Mixture(torch.zeros(len(self.parts)), [part() for part in self.parts])


def trained(model: BayesianModel, problem: Problem, posterior: Any, seconds: float, seed: int) -> Any:
    """Train a posterior for a number of CPU seconds, as far as a trial tells how many steps that is."""
    options: dict[str, Any] = {"lr": 0.01, "num_particles": 4, "num_samples": 4, "alarms": False}
    batch = 256 if len(problem.x) > 256 else None
    generator, data = torch.Generator().manual_seed(seed), (problem.x, problem.y)
    trial = HypernetGuide(copy.deepcopy(posterior))
    fit(model, trial, data, num_steps=5, batch_size=batch, generator=torch.Generator().manual_seed(0), **options)
    begin = time.process_time()
    fit(model, trial, data, num_steps=60, batch_size=batch, generator=torch.Generator().manual_seed(0), **options)
    steps = max(100, int(seconds / ((time.process_time() - begin) / 60)))
    beta = LinearWarmup(max(1, steps // 5), 0.01, 1.0)
    guide = HypernetGuide(posterior)
    fit(
        model,
        guide,
        data,
        num_steps=steps,
        batch_size=batch,
        scheduler="cosine",
        beta=beta,
        generator=generator,
        **options,
    )
    return guide.posterior


def scale_of(model: BayesianModel) -> Any:
    """The scales of the weights under the prior."""
    return model.prior.whitening


def start_of(model: BayesianModel) -> Tensor:
    """A draw of the prior, by torch's own generator."""
    return model.prior.sample()


def mean_field(model: BayesianModel, problem: Problem, seconds: float, seed: int = 0) -> Any:
    """Independent Gaussian weights."""
    posterior = MeanFieldPosterior(model.weight_spec, sigma=0.05, scale=scale_of(model), init=start_of(model))
    return trained(model, problem, posterior, seconds, seed)


def low_rank(model: BayesianModel, problem: Problem, seconds: float, seed: int = 0) -> Any:
    """Gaussian weights with a covariance of rank 16 plus a diagonal."""
    posterior = LowRankPosterior(model.weight_spec, 16, sigma=0.05, scale=scale_of(model), init=start_of(model))
    return trained(model, problem, posterior, seconds, seed)


def mixture(part: Callable[..., Any]) -> Callable[..., Any]:
    """An even mixture of five posteriors, each trained from a start of its own for a fifth of the time."""

    def build(model: BayesianModel, problem: Problem, seconds: float) -> Any:
        parts = []
        for seed in range(PARTS):
            torch.manual_seed(seed)
            parts.append(part(model, problem, seconds / PARTS, seed))
        return Parts(parts)

    return build


def hypernetwork(
    latents: int,
    layers: tuple[int, ...],
    activation: Callable[[Tensor], Tensor],
    sigma: float | None,
    first: float = 0.05,
) -> Callable[..., Any]:
    """A hypernetwork of the latent, with a fixed sigma or (None) one learned for each weight, at ``first`` at first."""

    def build(model: BayesianModel, problem: Problem, seconds: float) -> Any:
        spec = model.weight_spec
        shapes = [list(shape) for shape in spec.shapes]
        options = {"cond_in_size": 0, "num_cond_embs": 0, "verbose": False}
        hnet = HMLP(shapes, uncond_in_size=latents, layers=list(layers), activation_fn=activation, **options)
        init_hypernetwork(hnet, spec, 0.1)
        noise: Any = LearnedSigma(spec, first, "weight") if sigma is None else sigma
        posterior = HypernetPosterior(hnet, sigma=noise, scale=scale_of(model), weight_spec=spec)
        return trained(model, problem, posterior, seconds, 0)

    return build


def point(model: BayesianModel, problem: Problem, seconds: float, seed: int = 0) -> Any:
    """One network of highest posterior density."""
    posterior = trained(model, problem, DiracPosterior(model.weight_spec, init=start_of(model)), seconds, seed)
    return DrawnPosterior(posterior().loc.detach().unsqueeze(0), model.weight_spec)


def ensemble(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """Five networks of highest posterior density, each from a start of its own."""
    members = []
    for seed in range(PARTS):
        torch.manual_seed(seed)
        members.append(point(model, problem, seconds / PARTS, seed).samples)
    return DrawnPosterior(torch.cat(members), model.weight_spec)


def last_layer(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """The exact posterior of the last layer on top of a network of highest posterior density."""
    base = point(model, problem, seconds / 2).samples[0]
    last = model.weight_spec.mask(lambda entry: entry.last)

    def whole(part: Tensor) -> Tensor:
        weights = base.repeat(len(part), 1)
        weights[:, last] = part
        return weights

    def log_density(part: Tensor) -> Tensor:
        weights = whole(part)
        return model.log_likelihood(weights, problem.x, problem.y) + model.prior.log_prob(weights)

    start = base[last] + 0.1 * torch.randn(8, int(last.sum()), generator=torch.Generator().manual_seed(0))
    chains = sized(seconds / 2, log_density, start, model.prior.scale[last], max_steps=32)
    return DrawnPosterior(whole(chains.draws.flatten(0, 1)), model.weight_spec)


def sized(seconds: float, log_density: Any, start: Tensor, scale: Tensor, max_steps: int) -> Any:
    """Run the sampler for about as many CPU seconds as are given, as a short trial tells."""
    sampler = BatchedHMC(max_steps=max_steps)
    rounds = rounds_in(seconds, lambda n: sampler.sample(log_density, start, n, n, scale=scale).gradients, max_steps)
    generator = torch.Generator().manual_seed(1)
    return sampler.sample(log_density, start, rounds, rounds, scale=scale, generator=generator)


def rounds_in(seconds: float, run: Callable[[int], int], max_steps: int) -> int:
    """Number of draws, and of warm-up transitions, for which the time is enough if trajectories may be the longest."""
    run(1)  # the first call loads what later ones have
    begin = time.process_time()
    gradients = run(3)
    each = (time.process_time() - begin) / gradients
    # On average trajectories have half of the longest length, and the warm-up is as long as the rest.
    return max(10, int((seconds / each - 200) / (1.1 * max_steps)))


def sampled_for(seconds: float, problem: Problem, max_steps: int, seed: int) -> Any:
    """The posterior by the sampler, for about as many CPU seconds."""
    model = problem.model()

    def run(rounds: int, number: int) -> Any:
        return reference_posterior(
            model,
            problem.x,
            problem.y,
            sampler=BatchedHMC(max_steps=max_steps),
            num_samples=rounds,
            num_chains=problem.chains,
            generator=torch.Generator().manual_seed(number),
        )

    return run(rounds_in(seconds, lambda rounds: run(rounds, 100).gradients, max_steps), seed)


def long_run(problem: Problem) -> Any:
    """The posterior by a long run of the sampler."""
    return sampled_for(problem.truth_seconds, problem, 128, 7)


def sampler(model: BayesianModel, problem: Problem, seconds: float) -> Any:
    """The batched sampler with the time of the other families."""
    return sampled_for(seconds, problem, 64, 0)


FAMILIES: dict[str, Callable[..., Any]] = {
    "one network": point,
    "ensemble of 5": ensemble,
    "last layer only": last_layer,
    "mean field": mean_field,
    "low rank": low_rank,
    "linear hypernetwork": hypernetwork(16, (), nn.Tanh(), None),
    "implicit, sigma 0.1": hypernetwork(16, (64,), nn.Tanh(), 0.1),
    "implicit, sigma learned": hypernetwork(32, (64,), nn.Tanh(), None),
    "implicit, cosines": hypernetwork(32, (64,), torch.cos, None),
    "5 mean fields": mixture(mean_field),
    "5 of low rank": mixture(low_rank),
    "short sampler": sampler,
}
