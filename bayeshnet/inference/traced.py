"""The terms of the bound for any Pyro model and guide, from their traces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import is_identically_zero
from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from pyro.util import check_model_guide_match, check_site_shape
from torch import Tensor

from ..distributions.flat import Flat
from ..errors import type_error, value_error
from ..estimators import KLEstimate
from ..guides.implicit_site import ImplicitSite
from ..guides.sites import bare

if TYPE_CHECKING:
    from .elbo import ImplicitELBO

__all__ = ["TracedTerms", "trace_terms"]


@dataclass(frozen=True)
class TracedTerms:
    """Parts of the bound before temperature.

    Attributes:
        nll: mean over particles of the negative log-likelihood, ``()``.
        estimates: the KL of each weight site.
        other: mean of ``log q - log p`` of all other latent sites, or None.
        weights: draws ``(S, P)`` of the first weight site.
    """

    nll: Tensor
    estimates: list[KLEstimate] = field(default_factory=list)
    other: Tensor | None = None
    weights: Tensor | None = None


def trace_terms(elbo: ImplicitELBO, model: Any, guide: Any, args: Any, kwargs: Any) -> TracedTerms:
    """Run guide and model, particles in one plate or in a loop, and collect the terms."""
    if not elbo.vectorize_particles or elbo.num_particles == 1:
        runs = [_collect(elbo, _run(elbo, model, guide, args, kwargs), 1) for _ in range(elbo.num_particles)]
        return runs[0] if len(runs) == 1 else _mean(runs)
    if elbo.max_plate_nesting == float("inf"):
        elbo.max_plate_nesting = _plates_of(model, guide, args, kwargs) + 1
    plate = pyro.plate("num_particles_vectorized", elbo.num_particles, dim=-int(elbo.max_plate_nesting))
    return _collect(elbo, _run(elbo, model, guide, args, kwargs, plate), elbo.num_particles)


@dataclass(frozen=True)
class _Traces:
    """Traces without log-densities, and the distributions of the model's sites before plates expanded them."""

    model: Trace
    guide: Trace
    priors: dict[str, Any]


class _Recorder(Messenger):
    """Keeps the distributions of sample sites as the program states them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        self.found[msg["name"]] = msg["fn"]


def _run(elbo: ImplicitELBO, model: Any, guide: Any, args: Any, kwargs: Any, plate: Any = None) -> _Traces:
    """Run guide and model, both under ``plate`` if there is one."""
    recorder = _Recorder()
    program = recorder(model)
    if plate is not None:
        program, guide = plate(program), plate(guide)
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(program, trace=guide_trace)).get_trace(*args, **kwargs)
    if is_validation_enabled():
        check_model_guide_match(model_trace, guide_trace, elbo.max_plate_nesting)
    return _Traces(prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace), recorder.found)


def _plates_of(model: Any, guide: Any, args: Any, kwargs: Any) -> int:
    """How many dimensions the plates of model and guide take, from one run that handlers around us do not see."""
    with poutine.block(), torch.no_grad():
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    sites = [site for trace in (model_trace, guide_trace) for site in trace.nodes.values() if site["type"] == "sample"]
    return max((-frame.dim for site in sites for frame in site["cond_indep_stack"] if frame.vectorized), default=0)


def _collect(elbo: ImplicitELBO, traces: _Traces, particles: int) -> TracedTerms:
    model_trace, guide_trace = traces.model, traces.guide
    weight_sites = {name: site for name, site in _samples(guide_trace) if isinstance(site["fn"], ImplicitSite)}
    if not weight_sites:
        got = ", ".join(name for name, _ in _samples(guide_trace)) or "no site at all"
        advice = "Use HypernetGuide or one of its kin, or Trace_ELBO with other guides."
        raise type_error("guide", expected="a guide that samples from a weight posterior", found=got, hint=advice)
    model_trace.compute_log_prob(site_filter=lambda name, site: name not in weight_sites)
    nll: Any = 0.0
    other: Any = None
    for name, site in _samples(model_trace):
        if is_validation_enabled() and name not in weight_sites:
            check_site_shape(site, elbo.max_plate_nesting)
        if site["is_observed"]:
            nll = nll - site["log_prob_sum"] / particles
        elif name not in weight_sites:
            other = (0.0 if other is None else other) - site["log_prob_sum"] / particles
    for name, site in _samples(guide_trace):
        if name not in weight_sites:
            other = (0.0 if other is None else other) + _log_density(name, site) / particles
    estimates = [_estimate(elbo, name, site, traces.priors) for name, site in weight_sites.items()]
    first = next(iter(weight_sites.values()))["value"]
    return TracedTerms(torch.as_tensor(nll), estimates, other, first.reshape(-1, first.shape[-1]))


def _samples(trace: Trace) -> list[tuple[str, Any]]:
    return [(name, site) for name, site in trace.nodes.items() if site["type"] == "sample"]


def _log_density(name: str, site: Any) -> Tensor:
    """Log-density of another latent of the guide, summed."""
    parts = site["fn"].score_parts(site["value"], *site["args"], **site["kwargs"])
    if not is_identically_zero(parts.score_function):
        advice = "Use TraceGraph_ELBO, or a reparameterized distribution."
        raise value_error(
            f"guide site {name!r}", expected="a reparameterized distribution", got=site["fn"], hint=advice
        )
    return parts.scale_and_mask(site["scale"], site["mask"]).log_prob.sum()


def _estimate(elbo: ImplicitELBO, name: str, site: Any, priors: dict[str, Any]) -> KLEstimate:
    """The KL of one weight site, scaled as handlers around it ask."""
    where, advice = f"guide site {name!r}", "Use Trace_ELBO, which needs no prior of its own for each site."
    fn = site["fn"]
    if name in priors:
        prior, num_latents = bare(priors[name]), elbo.num_latents
    elif site["infer"].get("is_auxiliary"):
        prior, num_latents = Flat(fn.event_shape[0]), elbo.num_latents or fn.num_latents
    else:
        raise value_error(where, expected="a site of the same name in the model", found="none", hint=advice)
    if prior.batch_shape:
        expected = "a prior over one weight vector, which depends on no other latent"
        raise value_error(where, expected=expected, found=f"batch shape {tuple(prior.batch_shape)}", hint=advice)
    if site["mask"] is not None:
        raise value_error(where, expected="no mask", got=site["mask"], hint="A KL has no entries to be masked.")
    estimator = fn.estimator if elbo.estimator is None else elbo.estimator
    estimate = estimator.estimate(fn.base, prior, num_latents)
    scale = site["scale"]
    if isinstance(scale, Tensor) or scale != 1.0:
        value = None if estimate.value is None else estimate.value * scale
        return KLEstimate(value, estimate.surrogate * scale)
    return estimate


def _mean(runs: list[TracedTerms]) -> TracedTerms:
    """The mean over particles that were run one by one; each brought its own estimate of the KL."""
    num = len(runs)
    estimates = []
    for group in zip(*(run.estimates for run in runs), strict=True):
        known = all(e.value is not None for e in group)
        keys = set.intersection(*(set(e.diagnostics) for e in group)) & {"analytic", "mutual_information"}
        value = sum(e.value for e in group) / num if known else None
        diagnostics = {key: sum(e.diagnostics[key] for e in group) / num for key in keys}
        estimates.append(KLEstimate(value, sum(e.surrogate for e in group) / num, diagnostics=diagnostics))
    others = [run.other for run in runs if run.other is not None]
    other = torch.stack(others).sum() / num if others else None
    weights = torch.cat([run.weights for run in runs if run.weights is not None])
    return TracedTerms(torch.stack([run.nll for run in runs]).mean(), estimates, other, weights)
