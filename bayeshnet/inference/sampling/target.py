"""The posterior of a Bayesian network as a log-density of many weight vectors at once, and starts of chains."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...checks import check_generator
from ...distributions.base import draw_from, has_log_prob
from ...errors import type_error
from ...guides import BayesianModel
from ...guides.sites import as_pyro, unwrapped
from ..predicting.modes import predicting
from .batched_hmc import BatchedHMC
from .sampled import SampledPosterior

__all__ = ["sample_posterior"]


def sample_posterior(
    model: Any,
    x: Any,
    y: Tensor,
    sampler: BatchedHMC,
    *,
    num_samples: int,
    num_warmup: int | None,
    num_chains: int,
    generator: torch.Generator | None,
) -> SampledPosterior:
    """Sample the posterior of a Bayesian network given all of its data.

    Chains begin at draws of the prior. Parameters of the likelihood, such as a learned noise, and those of the prior
    stay as they are. The network is in evaluation mode, so that no dropout and no batch norm mixes examples.

    Args:
        model: the network with its prior and its likelihood.
        x: inputs ``(N, ...)``, or a tuple of several.
        y: targets.
        sampler: the sampler.
        num_samples: draws of each chain.
        num_warmup: transitions to learn from; as many as draws if None.
        num_chains: number of chains.
        generator: of all randomness.
    """
    if not isinstance(model, BayesianModel):
        hint = "Any Pyro program is sampled by sampler='nuts'."
        raise type_error("model", expected="a BayesianModel for sampler='batched'", got=model, hint=hint)
    begin = time.perf_counter()
    model.likelihood.check_targets(y)
    prior = unwrapped(as_pyro(model.prior, model.weight_spec.numel))
    if not has_log_prob(prior):
        hint = "Fit one, for example posterior.fitted()."
        raise type_error("model", expected="a prior with a density", got=prior, hint=hint)
    with torch.no_grad():
        start = draw_from(prior, num_chains, check_generator(generator)).w.detach()

    def log_density(weights: Tensor) -> Tensor:
        found: Tensor = model.log_likelihood(weights, x, y) + prior.log_prob(weights)
        return found

    with predicting(model.net, False):
        chains = sampler.sample(
            log_density, start, num_samples, num_warmup, scale=_scale(prior, start), generator=generator
        )
    return SampledPosterior(
        chains.draws.flatten(0, 1),
        model.weight_spec,
        num_chains,
        divergences=int(chains.divergences.sum()),
        acceptance=min(1.0, float(chains.acceptance.mean())),
        gradients=chains.gradients,
        seconds=time.perf_counter() - begin,
    )


def _scale(prior: Distribution, start: Tensor) -> Tensor:
    """Return the standard deviations of the prior, or ones if it does not know them."""
    try:
        scale = prior.variance.detach().sqrt().to(start)
    except (NotImplementedError, AttributeError):
        return torch.ones_like(start[0])
    known = bool((scale.isfinite() & (scale > 0)).all()) and scale.shape == start.shape[1:]
    return scale if known else torch.ones_like(start[0])
