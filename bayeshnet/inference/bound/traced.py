"""The bound of any Pyro model and guide, from their traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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

from ...checks import refusing
from ...distributions.flat import Flat
from ...errors import type_error, value_error
from ...estimators import KLEstimate
from ...guides import BayesianModel
from ...guides.implicit_site import ImplicitSite
from ...guides.sites import unwrapped
from ...mnets.running_statistics import holding
from ...rng import seeded
from .evaluation import Evaluation, EvaluationSettings
from .terms import BoundParts

__all__ = ["TracedEvaluation", "count_plates"]


class TracedEvaluation(Evaluation):
    """An evaluation by a run of guide and model, with all particles in one plate or one after the other.

    Args:
        settings: see :class:`~bayeshnet.inference.bound.EvaluationSettings`.
        model: a Pyro model.
        guide: a Pyro guide with at least one weight site.
        args: arguments of model and guide.
        kwargs: keyword arguments of model and guide.
        vectorize: function that returns whether to run all particles in one plate.
        nesting: function that returns the number of dimensions for plates, that of the particles included.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        model: Any,
        guide: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        vectorize: Callable[[], bool],
        nesting: Callable[[], float],
    ) -> None:
        if settings.local_noise:
            raise type_error(
                "local_noise",
                expected="a BayesianModel and a HypernetGuide without handlers around them",
                got=model,
                hint="Leave it off.",
            )
        self.settings, self.model, self.guide, self.args, self.kwargs = settings, model, guide, args, kwargs
        self.vectorize, self.nesting = vectorize, nesting

    @property
    def weights(self) -> Tensor:
        """Weight draws ``(S, P)`` of the first weight site, with their gradient."""
        weights = self._parts.weights
        if weights is None:
            raise value_error("guide", expected="weight draws", got=None)
        return weights

    @property
    def joins_inputs(self) -> bool:
        """False: the model runs its network by itself."""
        return False

    def outputs(self, inputs: Tensor) -> Tensor:
        """Compute outputs ``(S, K, C)`` at further inputs ``(K, ...)``, for a model whose network is known."""
        if not isinstance(self.model, BayesianModel):
            raise type_error(
                "model", expected="a BayesianModel, for losses of outputs at further inputs", got=self.model
            )
        weights = self.weights
        with holding(self.model.net):
            return self.model.outputs(weights, inputs)

    def parts(self) -> BoundParts:
        """Run guide and model and collect the parts of the bound."""
        return self._parts

    @cached_property
    def _parts(self) -> BoundParts:
        num = self.settings.num_particles
        with seeded(self.settings.generator):
            nesting = self.nesting()
            if num > 1 and self.vectorize():
                plate = pyro.plate("num_particles_vectorized", num, dim=-int(nesting))
                return self._collect(self._run(nesting, plate), nesting, num)
            return _mean([self._collect(self._run(nesting), nesting, 1) for _ in range(num)])

    def _run(self, nesting: float, plate: Any = None) -> _Traces:
        """Run guide and model, both under ``plate`` if there is one."""
        recorder = _Recorder()
        program, guide = recorder(self.model), self.guide
        if plate is not None:
            program, guide = plate(program), plate(guide)
        guide_trace = _traced("guide", guide, self.args, self.kwargs)
        model_trace = _traced("model", poutine.replay(program, trace=guide_trace), self.args, self.kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, nesting)
        return _Traces(prune_subsample_sites(model_trace), prune_subsample_sites(guide_trace), recorder.found)

    def _collect(self, traces: _Traces, nesting: Any, particles: int) -> BoundParts:
        """Collect the parts of the bound from traces of so many particles."""
        model_trace, guide_trace = traces.model, traces.guide
        weight_sites = _weight_sites(guide_trace)
        model_trace.compute_log_prob(site_filter=lambda name, site: name not in weight_sites)
        nll: Any = 0.0
        other: Any = None
        for name, site in _samples(model_trace):
            if is_validation_enabled() and name not in weight_sites:
                check_site_shape(site, nesting)
            if site["is_observed"]:
                nll = nll - site["log_prob_sum"] / particles
            elif name not in weight_sites:
                other = (0.0 if other is None else other) - site["log_prob_sum"] / particles
        for name, site in _samples(guide_trace):
            if name not in weight_sites:
                other = (0.0 if other is None else other) + _log_density(name, site) / particles
        estimates = [_estimate(self.settings, name, site, traces.priors) for name, site in weight_sites.items()]
        first = next(iter(weight_sites.values()))["value"]
        return BoundParts(torch.as_tensor(nll), estimates, other, first.reshape(-1, first.shape[-1]))


def count_plates(model: Any, guide: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Count the dimensions that plates of model and guide take, by one run hidden from handlers around it."""
    with poutine.block(), torch.no_grad():
        guide_trace = _traced("guide", guide, args, kwargs)
        model_trace = _traced("model", poutine.replay(model, trace=guide_trace), args, kwargs)
    sites = [site for trace in (model_trace, guide_trace) for _, site in _samples(trace)]
    return max((-frame.dim for site in sites for frame in site["cond_indep_stack"] if frame.vectorized), default=0)


def _traced(argument: str, program: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Trace:
    """Return the trace of a run of ``program``, which is the argument of that name."""
    expected = "a program that takes the arguments of model and guide"
    trace: Trace = refusing(argument, poutine.trace(program).get_trace, expected)(*args, **kwargs)
    return trace


@dataclass(frozen=True)
class _Traces:
    """Traces without log-densities, and the distributions of the model's sites before plates expanded them."""

    model: Trace
    guide: Trace
    priors: dict[str, Any]


class _Recorder(Messenger):
    """A handler that records the distributions of sample sites as the program states them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        self.found[msg["name"]] = msg["fn"]


def _samples(trace: Trace) -> list[tuple[str, Any]]:
    return [(name, site) for name, site in trace.nodes.items() if site["type"] == "sample"]


def _weight_sites(guide_trace: Trace) -> dict[str, Any]:
    """Return the weight sites of a guide, of which there must be one at least."""
    found = {name: site for name, site in _samples(guide_trace) if isinstance(site["fn"], ImplicitSite)}
    if not found:
        got = ", ".join(name for name, _ in _samples(guide_trace)) or "no site at all"
        advice = "Use HypernetGuide or one of its kin, or Trace_ELBO with other guides."
        raise type_error("guide", expected="a guide that samples from a weight posterior", found=got, hint=advice)
    return found


def _log_density(name: str, site: Any) -> Tensor:
    """Return the log-density of another latent of the guide, summed."""
    parts = site["fn"].score_parts(site["value"], *site["args"], **site["kwargs"])
    if not is_identically_zero(parts.score_function):
        advice = "Use TraceGraph_ELBO, or a reparameterized distribution."
        raise value_error(
            f"guide site {name!r}", expected="a reparameterized distribution", got=site["fn"], hint=advice
        )
    found: Tensor = parts.scale_and_mask(site["scale"], site["mask"]).log_prob.sum()
    return found


def _estimate(settings: EvaluationSettings, name: str, site: Any, priors: Mapping[str, Any]) -> KLEstimate:
    """Estimate the KL of one weight site, scaled as handlers around it require."""
    where, advice = f"guide site {name!r}", "Use Trace_ELBO, which needs no prior of its own for each site."
    fn = site["fn"]
    if name in priors:
        prior, num_samples = unwrapped(priors[name]), settings.num_samples
    elif site["infer"].get("is_auxiliary"):
        prior, num_samples = Flat(fn.event_shape[0]), settings.num_samples or fn.num_samples
    else:
        raise value_error(where, expected="a site of the same name in the model", found="none", hint=advice)
    if prior.batch_shape:
        expected = "a prior over one weight vector, which depends on no other latent"
        raise value_error(where, expected=expected, found=f"batch shape {tuple(prior.batch_shape)}", hint=advice)
    if site["mask"] is not None:
        raise value_error(where, expected="no mask", got=site["mask"], hint="A KL has no entries to be masked.")
    estimator = fn.estimator if settings.estimator is None else settings.estimator
    estimate = estimator.estimate(fn.base, prior, num_samples=num_samples)
    scale = site["scale"]
    if isinstance(scale, Tensor) or scale != 1.0:
        value = None if estimate.value is None else estimate.value * scale
        return KLEstimate(value, estimate.surrogate * scale)
    return estimate


def _mean(runs: list[BoundParts]) -> BoundParts:
    """Average over particles that were run one by one, each with its own estimate of the KL."""
    num = len(runs)
    if num == 1:
        return runs[0]
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
    return BoundParts(torch.stack([run.nll for run in runs]).mean(), estimates, other, weights)
