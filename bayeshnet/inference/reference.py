"""reference_posterior: Hamiltonian Monte Carlo in one call, as the reference for guides of the same model."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from ..checks import check_callable, check_generator, check_mapping, refusing
from ..errors import check_size, type_error, value_error
from ..guides import BayesianModel
from ..guides.likelihoods.contract import support_named
from ..guides.sites import continuous_named
from ..rng import seeded
from ..weights import WeightSpec
from .sampling import BatchedHMC, DrawnPosterior, SampledPosterior, effective_size, sample_posterior, split_r_hat

__all__ = ["SAMPLERS", "DrawnPosterior", "ReferencePosterior", "reference_posterior"]

SAMPLERS = ("nuts", "batched")
"""Names of samplers: the no-U-turn sampler for any program, and :class:`BatchedHMC` for networks."""

_SIDE_BY_SIDE = 32
"""Chains of the batched sampler."""


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


@overload
def reference_posterior(
    model: Any,
    *args: Any,
    num_samples: int = ...,
    num_warmup: int | None = ...,
    num_chains: int | None = ...,
    generator: torch.Generator | None = ...,
    nuts: Mapping[str, Any] | None = ...,
    sampler: Literal["nuts"] = ...,
    **kwargs: Any,
) -> ReferencePosterior: ...
@overload
def reference_posterior(
    model: Any,
    *args: Any,
    num_samples: int = ...,
    num_warmup: int | None = ...,
    num_chains: int | None = ...,
    generator: torch.Generator | None = ...,
    nuts: None = ...,
    sampler: Literal["batched"] | BatchedHMC,
    **kwargs: Any,
) -> SampledPosterior: ...
def reference_posterior(
    model: Any,
    *args: Any,
    num_samples: int = 1000,
    num_warmup: int | None = None,
    num_chains: int | None = None,
    generator: torch.Generator | None = None,
    nuts: Mapping[str, Any] | None = None,
    sampler: str | BatchedHMC = "nuts",
    **kwargs: Any,
) -> ReferencePosterior | SampledPosterior:
    """Sample the posterior of a Pyro model by Hamiltonian Monte Carlo.

    It is exact in the limit and slow: a reference for guides of small models and small networks. For the weights of a
    small network ``sampler="batched"`` runs many chains side by side, which is a posterior to work with where a network
    is small enough: see :class:`~bayeshnet.inference.BatchedHMC`.

    Args:
        model: a :class:`~bayeshnet.guides.BayesianModel` or any Pyro model with continuous latent variables.
        args: arguments of the model, such as ``x, y`` (all of the data).
        num_samples: number of samples per chain.
        num_warmup: steps per chain to adapt step size and mass matrix; the number of samples if None.
        num_chains: number of chains, for R-hat. If None, 1; with ``"batched"``, where they run side by side, 32.
        generator: of all randomness.
        nuts: options of ``pyro.infer.NUTS``, such as ``{"max_tree_depth": 6}``.
        sampler: ``"nuts"``, the no-U-turn sampler of Pyro; ``"batched"`` or a :class:`~bayeshnet.inference.BatchedHMC`
            for a BayesianModel, called with ``x, y``, whose parameters besides the weights stay as they are.
        kwargs: keyword arguments of the model.

    Returns:
        A :class:`ReferencePosterior`; with ``"batched"`` a :class:`~bayeshnet.inference.SampledPosterior`.

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
    num_samples = check_size("num_samples", num_samples)
    chains = None if num_chains is None else check_size("num_chains", num_chains)
    warmup = num_samples if num_warmup is None else check_size("num_warmup", num_warmup, 0)
    batched = _batched(sampler, nuts)
    if batched is not None:
        x, y = _data(args, kwargs)
        return sample_posterior(
            model,
            x,
            y,
            batched,
            num_samples=num_samples,
            num_warmup=warmup,
            num_chains=_SIDE_BY_SIDE if chains is None else chains,
            generator=check_generator(generator),
        )
    options = _nuts_options(nuts)
    if isinstance(model, BayesianModel) and (len(args) > 1 or kwargs.get("y") is not None):
        model.likelihood.check_targets(args[1] if len(args) > 1 else kwargs["y"])

    def program(mcmc: MCMC) -> None:
        refusing("model", mcmc.run, "a Pyro program that takes these arguments")(*args, **kwargs)

    named = support_named() if isinstance(model, BayesianModel) else nullcontext()
    with seeded(check_generator(generator)), named:
        return _by_nuts(
            lambda: MCMC(NUTS(model, **options), num_samples, warmup_steps=warmup, disable_progbar=True),
            program,
            chains or 1,
        )


def _by_nuts(make: Callable[[], MCMC], run: Callable[[MCMC], None], num_chains: int) -> ReferencePosterior:
    """Run chains one after the other."""
    begin = time.perf_counter()
    chains: list[dict[str, Tensor]] = []
    divergences = 0
    for _ in range(num_chains):
        mcmc = make()
        with continuous_named(), _start_named():
            run(mcmc)
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


def _batched(sampler: Any, nuts: Any) -> BatchedHMC | None:
    """Return the sampler of many chains, or None for the no-U-turn sampler."""
    if isinstance(sampler, str) and sampler in SAMPLERS:
        chosen = None if sampler == "nuts" else BatchedHMC()
    elif isinstance(sampler, BatchedHMC):
        chosen = sampler
    else:
        expected = "'nuts', 'batched' or a BatchedHMC"
        raise (value_error if isinstance(sampler, str) else type_error)("sampler", expected=expected, got=sampler)
    if chosen is not None and nuts is not None:
        raise value_error("nuts", expected="None beside sampler='batched'", got=nuts, hint="Give BatchedHMC(...).")
    return chosen


def _data(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return inputs and targets among the arguments of the model."""
    given = {**dict(zip(("x", "y"), args, strict=False)), **kwargs}
    if set(given) != {"x", "y"} or len(args) > 2 or len(args) + len(kwargs) != 2:
        found = f"{len(args)} positional ones and {sorted(kwargs)}"
        raise value_error("args", expected="x and y for sampler='batched'", found=found)
    return given["x"], given["y"]


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
