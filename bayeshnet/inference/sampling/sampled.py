"""SampledPosterior: a posterior given by the draws of several chains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...checks import check_data, check_generator
from ...distributions import WeightDistribution, WeightPosterior
from ...errors import check_instance, check_int, check_number, check_size, value_error
from ...guides import Likelihood
from ...mnets.inputs import Inputs, num_examples
from ...saving import load_checkpoint, save_checkpoint
from ...weights import WeightEntry, WeightSpec
from .convergence import Convergence, effective_size, split_r_hat
from .drawn import Drawn, check_samples
from .fitted import fit_density
from .function_values import values_of

__all__ = ["SampledPosterior"]


class SampledPosterior(WeightPosterior):
    """A posterior over weights given by the draws of several chains of a sampler.

    It is a posterior like any other: :class:`~bayeshnet.inference.Predictive` predicts with it, and
    :meth:`sample_networks` draws networks. Its draws leave it as plain ``state_dict`` by :meth:`state_dicts`, it is
    saved by :meth:`save`, and :meth:`fitted` makes it the prior of the next task.

    Weights of a network are not identified: hidden units can be exchanged, so chains may disagree about weights and
    agree about all that can be observed. :attr:`r_hat` looks at weights, :meth:`convergence` at outputs or predictions.

    Args:
        samples: ``(S, P)``, the chains one after the other.
        spec: names and shapes of the weights.
        num_chains: number of chains of equal length.
        divergences: number of divergent trajectories after the warm-up.
        acceptance: mean acceptance after the warm-up, between 0 and 1.
        gradients: number of gradients of each chain, all that came before its draws included.
        seconds: wall time of the sampler.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> draws = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        >>> posterior = SampledPosterior(draws, WeightSpec.of(net), num_chains=4)
        >>> posterior.chains.shape, posterior.rsample((5,)).shape, len(posterior.state_dicts(net))
        (torch.Size([4, 10, 3]), torch.Size([5, 3]), 40)
    """

    def __init__(
        self,
        samples: Tensor,
        spec: WeightSpec,
        num_chains: int = 1,
        *,
        divergences: int = 0,
        acceptance: float = 1.0,
        gradients: int = 0,
        seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.samples: Tensor
        self.register_buffer("samples", check_samples(samples, spec))
        self.weight_spec = spec
        self.num_chains = check_size("num_chains", num_chains)
        if len(samples) % self.num_chains:
            expected = f"a divisor of the number of samples, {len(samples)}"
            raise value_error("num_chains", expected=expected, got=num_chains)
        self.divergences = check_int("divergences", divergences, 0)
        self.acceptance = check_number("acceptance", acceptance, 0.0, 1.0)
        self.gradients = check_int("gradients", gradients, 0)
        self.seconds = check_number("seconds", seconds, 0.0)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> WeightDistribution:
        """Return the empirical distribution of the draws, whatever the condition; it has no density."""
        return Drawn(self.samples, self.weight_spec)

    def sample(self, num: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return ``num`` of the draws in random order, ``(num, P)``, without repetition if there are enough."""
        return self.draw(check_size("num", num), check_generator(generator)).w

    @property
    def chains(self) -> Tensor:
        """Draws by chain, ``(C, N, P)``."""
        found: Tensor = self.samples.unflatten(0, (self.num_chains, -1))
        return found

    @property
    def r_hat(self) -> Tensor:
        """Split R-hat of each weight, ``(P,)``; NaN for fewer than four draws of each chain."""
        return split_r_hat(self.chains)

    @property
    def effective(self) -> Tensor:
        """Effective number of draws of each weight, ``(P,)``; NaN for fewer than four draws of each chain."""
        return effective_size(self.chains)

    @property
    def worst_r_hat(self) -> float:
        """Largest R-hat of all weights."""
        return float(self.r_hat.max())

    def flat(self) -> Tensor:
        """Return the draws ``(S, P)``, as :meth:`ReferencePosterior.flat` does."""
        return self.samples

    @torch.no_grad()
    def convergence(
        self, net: nn.Module, x: Inputs, likelihood: Likelihood | None = None, *, chunk: int = 256
    ) -> Convergence:
        """Judge the convergence of what the network computes at inputs ``x``: R-hat and effective draws, ``(N, C)``.

        Args:
            net: the network.
            x: inputs ``(N, ...)``.
            likelihood: whose means, such as probabilities of classes, are judged; None for the outputs themselves.
            chunk: draws at a time.
        """
        check_instance("net", net, nn.Module, "a main network or a torch.nn.Module")
        if likelihood is not None:
            check_instance("likelihood", likelihood, Likelihood, "a Likelihood or None")
        for part in x if isinstance(x, tuple) else (x,):
            check_data("x", part)
        num_examples(x)
        values = values_of(self.samples, net, x, likelihood, check_size("chunk", chunk))
        chains = values.unflatten(0, (self.num_chains, -1))
        return Convergence(split_r_hat(chains), effective_size(chains))

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the arguments that build a posterior of the same structure, for :func:`bayeshnet.save`."""
        return {"samples": self.samples, "spec": self.weight_spec, **{name: getattr(self, name) for name in _SETTINGS}}

    def fitted(self, family: str = "auto", rank: int = 16) -> WeightDistribution:
        r"""Fit a density to the draws: the prior of the next task, :math:`p(w | D_1) \approx q(w)`.

        The posterior given the data of a further task alone, with this prior, is that given all data, as far as the
        family holds the posterior: exactly so for a linear model with Gaussian noise, whose posterior is Gaussian. See
        :func:`~bayeshnet.inference.sampling.fit_density` for the families.

        Args:
            family: ``"auto"``, ``"mean_field"``, ``"low_rank"``, ``"full"`` or ``"mixture"``.
            rank: principal components of low-rank covariances.

        Example:
            >>> posterior = SampledPosterior(torch.randn(100, 3), WeightSpec.of(nn.Linear(2, 1)), num_chains=2)
            >>> posterior.fitted("full").log_prob(torch.zeros(3)).shape
            torch.Size([])
        """
        return fit_density(self.chains, family, rank, self.weight_spec)

    def write(self, path: str | Path) -> None:
        """Save the draws as ``path.safetensors`` and names, shapes and diagnostics as ``path.json``, atomically."""
        entries = [
            {"name": e.name, "shape": list(e.shape), "role": e.role, "fan_in": e.fan_in, "last": e.last}
            for e in self.weight_spec.entries
        ]
        record: dict[str, Any] = {name: getattr(self, name) for name in _SETTINGS}
        size, dtype = list(self.samples.shape), str(self.samples.dtype).removeprefix("torch.")
        save_checkpoint(path, self, {"kind": _KIND, "size": size, "dtype": dtype, "entries": entries, **record})

    @classmethod
    def load(cls, path: str | Path) -> SampledPosterior:
        """Load what :meth:`write`, and so :meth:`save`, has written.

        Raises:
            FileNotFoundError: if one of the two files is missing.
            ValueError: if a file is damaged, or the record is of something else.
        """
        record = load_checkpoint(path)
        try:
            if record["kind"] != _KIND:
                raise ValueError(f"a record of {record['kind']!r}")
            spec = WeightSpec(tuple(_entry(values) for values in record["entries"]))
            blank = torch.zeros(*record["size"], dtype=getattr(torch, record["dtype"]))
            posterior = cls(blank, spec, **{name: record[name] for name in _SETTINGS})
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            found = f"{type(error).__name__}: {error}"
            raise value_error("path", expected="a saved SampledPosterior", found=found) from error
        load_checkpoint(path, posterior)
        return posterior


_KIND = "SampledPosterior"
_SETTINGS = ("num_chains", "divergences", "acceptance", "gradients", "seconds")


def _entry(values: Mapping[str, Any]) -> WeightEntry:
    return WeightEntry(values["name"], tuple(values["shape"]), values["role"], values["fan_in"], values["last"])
