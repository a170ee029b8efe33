"""reference_posterior: Hamiltonian Monte Carlo as the gold standard for guides of the same model, in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from ..distributions import WeightDistribution, WeightDraw, WeightPosterior
from ..errors import check_int, value_error
from ..rng import seeded
from ..weights import WeightSpec

__all__ = ["DrawnPosterior", "ReferencePosterior", "reference_posterior"]


@dataclass(frozen=True)
class ReferencePosterior:
    """Samples from a posterior by NUTS, and what says whether to trust them.

    Attributes:
        samples: by site, ``(S, *shape)``, the chains one after the other.
        r_hat: by site, split R-hat of each unknown ``(*shape)``; near 1 when chains agree.
        effective: by site, effective number of samples of each unknown.
        divergences: number of divergent transitions; many mean that a region was not explored.
        seconds: wall time.
    """

    samples: Mapping[str, Tensor]
    r_hat: Mapping[str, Tensor]
    effective: Mapping[str, Tensor]
    divergences: int
    seconds: float

    @property
    def worst_r_hat(self) -> float:
        """The largest R-hat of all unknowns."""
        return max(float(value.max()) for value in self.r_hat.values())

    def flat(self) -> Tensor:
        """All sites side by side, ``(S, D)``."""
        return torch.cat([value.reshape(len(value), -1) for value in self.samples.values()], dim=1)

    def posterior(self, spec: WeightSpec, site: str = "weights") -> DrawnPosterior:
        """The samples of a weight site as a posterior module, for :class:`~bayeshnet.inference.Predictive`."""
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

    It is exact in the limit and slow: for small models, and for small networks, that guides are to be held against.

    Args:
        model: a :class:`~bayeshnet.guides.BayesianModel` or any Pyro model with continuous latent variables.
        args: arguments of the model, such as ``x, y`` (all of the data).
        num_samples: samples per chain.
        num_warmup: steps per chain to adapt step size and mass matrix; as many as samples if None.
        num_chains: chains, run one after the other, for R-hat.
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
    check_int("num_samples", num_samples, 1)
    check_int("num_chains", num_chains, 1)
    warmup = num_samples if num_warmup is None else check_int("num_warmup", num_warmup, 0)
    begin = time.perf_counter()
    chains: list[dict[str, Tensor]] = []
    divergences = 0
    with seeded(generator):
        for _ in range(num_chains):
            mcmc = MCMC(NUTS(model, **dict(nuts or {})), num_samples, warmup_steps=warmup, disable_progbar=True)
            mcmc.run(*args, **kwargs)
            chains.append({name: value.detach() for name, value in mcmc.get_samples().items()})
            divergences += sum(len(found) for found in mcmc.diagnostics().get("divergences", {}).values())
    stacked = {name: torch.stack([chain[name] for chain in chains]) for name in chains[0]}
    return ReferencePosterior(
        {name: value.flatten(0, 1) for name, value in stacked.items()},
        {name: split_r_hat(value) for name, value in stacked.items()},
        {name: effective_size(value) for name, value in stacked.items()},
        divergences,
        time.perf_counter() - begin,
    )


def split_r_hat(chains: Tensor) -> Tensor:
    """Split R-hat of chains ``(chains, S, *shape)``: ``(*shape)``.

    References:
        Gelman, Carlin, Stern, Dunson, Vehtari, Rubin, "Bayesian data analysis", third edition, 2013.
    """
    half = chains.shape[1] // 2
    if half < 2:
        return chains.new_full(chains.shape[2:], float("nan"))
    parts = torch.cat([chains[:, :half], chains[:, half : 2 * half]])
    within = parts.var(1).mean(0)
    between = parts.mean(1).var(0)
    return (((half - 1) / half * within + between) / within.clamp_min(torch.finfo(within.dtype).tiny)).sqrt()


def effective_size(chains: Tensor) -> Tensor:
    """Effective number of samples of chains ``(chains, S, *shape)``: ``(*shape)``.

    Autocorrelations are summed in pairs up to the first negative one, chain by chain, and the chains added up.

    References:
        Geyer, "Practical Markov chain Monte Carlo", 1992.
    """
    num = chains.shape[1]
    centered = chains - chains.mean(1, keepdim=True)
    size = 2 ** math.ceil(math.log2(max(2 * num, 2)))
    spectrum = torch.fft.rfft(centered, size, dim=1).abs().square()
    correlation = torch.fft.irfft(spectrum, size, dim=1)[:, :num]
    rho = correlation / correlation[:, :1].clamp_min(torch.finfo(chains.dtype).tiny)
    pairs = rho[:, : num // 2 * 2].unflatten(1, (-1, 2)).sum(2)
    keep = (pairs > 0).to(chains.dtype).cumprod(1)
    time_constant = (2 * (pairs * keep).sum(1) - 1).clamp_min(1 / num)
    return (num / time_constant).sum(0)


class DrawnPosterior(WeightPosterior):
    """A posterior given by samples of the weights, such as those of a sampler or of an ensemble.

    Args:
        samples: ``(S, P)``.
        spec: names and shapes of the weights.
    """

    def __init__(self, samples: Tensor, spec: WeightSpec) -> None:
        super().__init__()
        if samples.ndim != 2 or samples.shape[1] != spec.numel:
            raise value_error("samples", expected=f"a tensor of shape (S, {spec.numel})", got=samples)
        self.samples: Tensor
        self.register_buffer("samples", samples)
        self.weight_spec = spec

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """The distribution, whatever the condition."""
        return _Drawn(self.samples, self.weight_spec)


class _Drawn(WeightDistribution):
    """Equal weight on each of some samples; without a density."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (the name and kind are torch's)
    has_rsample = True

    def __init__(self, samples: Tensor, spec: WeightSpec) -> None:
        self.samples, self.weight_spec = samples, spec
        super().__init__(torch.Size(), samples.shape[1:], validate_args=False)

    def draw(self, num: int, generator: torch.Generator | None = None) -> WeightDraw:
        """Draw ``num`` of the samples, without repetition as long as there are enough."""
        total = len(self.samples)
        rounds = -(-num // total)
        device = None if generator is None else generator.device
        order = torch.cat([torch.randperm(total, generator=generator, device=device) for _ in range(rounds)])
        return WeightDraw(self.samples[order[:num].to(self.samples.device)])
