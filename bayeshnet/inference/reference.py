"""reference_posterior: Hamiltonian Monte Carlo in one call, as the reference for guides of the same model."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from ..checks import check_callable, check_generator, check_mapping, refusing
from ..distributions import WeightDistribution, WeightDraw, WeightPosterior
from ..errors import check_finite, check_floating, check_instance, check_shape, check_size, value_error
from ..guides import BayesianModel
from ..guides.likelihoods.contract import support_named
from ..guides.sites import continuous_named
from ..rng import seeded
from ..weights import WeightSpec

__all__ = ["DrawnPosterior", "ReferencePosterior", "reference_posterior"]

_SHORTEST = 4
"""Samples per chain from which on chains can be compared."""


@dataclass(frozen=True)
class ReferencePosterior:
    """Samples from a posterior by NUTS, with diagnostics of their convergence.

    Attributes:
        samples: by site, ``(S, *shape)``, with the chains one after the other.
        r_hat: by site, split R-hat of each unknown ``(*shape)``; near 1 when chains agree.
        effective: by site, effective number of samples of each unknown.
        divergences: number of divergent transitions; many of them mean that a region was not explored.
        seconds: wall time.
    """

    samples: Mapping[str, Tensor]
    r_hat: Mapping[str, Tensor]
    effective: Mapping[str, Tensor]
    divergences: int
    seconds: float

    @property
    def worst_r_hat(self) -> float:
        """Largest R-hat of all unknowns."""
        return max(float(value.max()) for value in self.r_hat.values())

    def flat(self) -> Tensor:
        """Return all sites side by side, ``(S, D)``."""
        return torch.cat([value.reshape(len(value), -1) for value in self.samples.values()], dim=1)

    def posterior(self, spec: WeightSpec, site: str = "weights") -> DrawnPosterior:
        """Return the samples of a weight site as a posterior module, for :class:`~bayeshnet.inference.Predictive`."""
        if site not in self.samples:
            raise value_error("site", expected="one of " + ", ".join(self.samples), got=site)
        return DrawnPosterior(self.samples[site], spec)


def reference_posterior(
    model: Any,
    *args: Any,
    num_samples: int = 1000,
    num_warmup: int | None = None,
    num_chains: int = 1,
    generator: torch.Generator | None = None,
    nuts: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> ReferencePosterior:
    """Sample the posterior of a Pyro model by the no-U-turn sampler.

    It is exact in the limit and slow: a reference for guides of small models and small networks.

    Args:
        model: a :class:`~bayeshnet.guides.BayesianModel` or any Pyro model with continuous latent variables.
        args: arguments of the model, such as ``x, y`` (all of the data).
        num_samples: number of samples per chain.
        num_warmup: steps per chain to adapt step size and mass matrix; the number of samples if None.
        num_chains: number of chains, run one after the other, for R-hat.
        generator: of all randomness.
        nuts: options of ``pyro.infer.NUTS``, such as ``{"max_tree_depth": 6}``.
        kwargs: keyword arguments of the model.

    References:
        Hoffman, Gelman, "The no-U-turn sampler", 2014.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> model = lambda: pyro.sample("x", dist.Normal(3.0, 0.5))
        >>> found = reference_posterior(model, num_samples=200, generator=torch.Generator().manual_seed(0))
        >>> bool((found.samples["x"].mean() - 3).abs() < 0.2)
        True
    """
    check_callable("model", model, "a BayesianModel or another Pyro program")
    num_samples, num_chains = check_size("num_samples", num_samples), check_size("num_chains", num_chains)
    warmup = num_samples if num_warmup is None else check_size("num_warmup", num_warmup, 0)
    options = _nuts_options(nuts)
    if isinstance(model, BayesianModel) and (len(args) > 1 or kwargs.get("y") is not None):
        model.likelihood.check_targets(args[1] if len(args) > 1 else kwargs["y"])
    begin = time.perf_counter()
    chains: list[dict[str, Tensor]] = []
    divergences = 0
    named = support_named() if isinstance(model, BayesianModel) else nullcontext()
    with seeded(check_generator(generator)), named:
        for _ in range(num_chains):
            mcmc = MCMC(NUTS(model, **options), num_samples, warmup_steps=warmup, disable_progbar=True)
            with continuous_named(), _start_named():
                refusing("model", mcmc.run, "a Pyro program that takes these arguments")(*args, **kwargs)
            chains.append({name: value.detach() for name, value in mcmc.get_samples().items()})
            # Its diagnostics() would compute R-hat as well, for which few samples are not enough.
            found: Any = mcmc._diagnostics
            divergences += sum(len(chain.get("divergences", ())) for chain in found)
    stacked = {name: torch.stack([chain[name] for chain in chains]) for name in chains[0]}
    return ReferencePosterior(
        {name: value.flatten(0, 1) for name, value in stacked.items()},
        {name: split_r_hat(value) for name, value in stacked.items()},
        {name: effective_size(value) for name, value in stacked.items()},
        divergences,
        time.perf_counter() - begin,
    )


@contextmanager
def _start_named() -> Iterator[None]:
    """Name the model where Pyro finds no values of its unknowns that have a density, with its error as the cause."""
    try:
        yield
    except ValueError as error:
        if "valid initial params" not in str(error):
            raise
        expected = "a program whose unknowns have a finite density somewhere"
        raise value_error("model", expected=expected, found="one that none of many starts suits") from error


def _nuts_options(nuts: Any) -> dict[str, Any]:
    """Return options of the sampler, all of which it must have."""
    known = set(inspect.signature(NUTS).parameters) - {"model", "potential_fn"}
    options = {} if nuts is None else check_mapping("nuts", nuts, "a mapping of options, or None")
    unknown = sorted(set(options) - known)
    if unknown:
        raise value_error("nuts", expected=f"options among {', '.join(sorted(known))}", found=", ".join(unknown))
    return options


def split_r_hat(chains: Tensor) -> Tensor:
    """Compute split R-hat of chains ``(chains, S, *shape)``: ``(*shape)``, NaN for fewer than four samples per chain.

    References:
        Gelman, Carlin, Stern, Dunson, Vehtari, Rubin, "Bayesian data analysis", third edition, 2013.
    """
    return split_gelman_rubin(chains) if chains.shape[1] >= _SHORTEST else _unknown(chains)


def effective_size(chains: Tensor) -> Tensor:
    """Compute the effective number of samples of chains ``(chains, S, *shape)``: ``(*shape)``.

    The definition is that of Stan: autocorrelations of all chains together, with the variance between chains, so that
    chains that disagree have few effective samples. NaN for fewer than four samples per chain.

    References:
        Geyer, "Practical Markov chain Monte Carlo", 1992.
    """
    return effective_sample_size(chains) if chains.shape[1] >= _SHORTEST else _unknown(chains)


def _unknown(chains: Tensor) -> Tensor:
    return chains.new_full(chains.shape[2:], math.nan)


class DrawnPosterior(WeightPosterior):
    """A posterior given by samples of the weights, such as those of MCMC or of an ensemble.

    Args:
        samples: ``(S, P)``.
        spec: names and shapes of the weights.
    """

    def __init__(self, samples: Tensor, spec: WeightSpec) -> None:
        super().__init__()
        check_instance("spec", spec, WeightSpec, "a WeightSpec", "For example WeightSpec.of(net).")
        check_shape("samples", check_floating("samples", samples), (None, spec.numel))
        if not len(samples):
            raise value_error("samples", expected="at least one weight vector", found="none")
        check_finite("samples", samples)
        self.samples: Tensor
        self.register_buffer("samples", samples)
        self.weight_spec = spec

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the distribution, whatever the condition."""
        return _Drawn(self.samples, self.weight_spec)


class _Drawn(WeightDistribution):
    """The empirical distribution of samples; it has no density."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (the name and kind are torch's)
    has_rsample = True

    def __init__(self, samples: Tensor, spec: WeightSpec) -> None:
        self.samples, self.weight_spec = samples, spec
        super().__init__(torch.Size(), samples.shape[1:], validate_args=False)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` of the samples, without repetition if there are enough."""
        total = len(self.samples)
        rounds = -(-num // total)
        device = None if generator is None else generator.device
        order = torch.cat([torch.randperm(total, generator=generator, device=device) for _ in range(rounds)])
        return WeightDraw(self.samples[order[:num].to(self.samples.device)])
