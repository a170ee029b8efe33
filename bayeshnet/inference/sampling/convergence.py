"""Convergence of chains: split R-hat and the effective number of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

__all__ = ["Convergence", "effective_size", "split_r_hat"]

_SHORTEST = 4
"""Samples per chain from which on chains can be compared."""


@dataclass(frozen=True)
class Convergence:
    """Convergence of several numbers that chains were followed by, such as predictions.

    Attributes:
        r_hat: split R-hat of each, near 1 when chains agree.
        effective: effective number of samples of each.
    """

    r_hat: Tensor
    effective: Tensor

    @property
    def worst_r_hat(self) -> float:
        """Largest R-hat."""
        return float(self.r_hat.max())

    @property
    def least_effective(self) -> float:
        """Smallest effective number of samples."""
        return float(self.effective.min())


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
