"""Densities fitted to draws of weights, so that what was sampled can be the prior of the next task."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distributions import LowRankGaussian, MeanFieldGaussian, Mixture, WeightDistribution
from ...errors import check_choice, check_floating, check_shape, check_size, value_error
from ...geometry.linalg import precise
from ...weights import WeightSpec

__all__ = ["FAMILIES", "fit_density"]

FAMILIES = ("auto", "mean_field", "low_rank", "full", "mixture")
"""Names of the densities that can be fitted to draws."""

_LARGEST_ROOT = 1e-3
"""Part of the root of the largest number that weights may reach."""

_PART = 0.75
"""Part of each chain from which densities are fitted that are compared on the rest."""


@torch.no_grad()
def fit_density(
    chains: Tensor, family: str = "auto", rank: int = 16, weight_spec: WeightSpec | None = None
) -> WeightDistribution:
    r"""Fit a density to the draws of chains.

    - ``"mean_field"``: independent Gaussians;
    - ``"low_rank"``: a Gaussian whose correlations are those of the ``rank`` leading principal components of the
      standardized draws, with the variances of the draws (probabilistic PCA);
    - ``"full"``: a Gaussian with the mean and covariance of the draws, the correlations drawn towards zero by as much
      as their own error asks for (which is next to nothing if there are many more draws than weights);
    - ``"mixture"``: a ``"low_rank"`` Gaussian for each chain, for posteriors with modes between which chains do not
      move. Its density costs as much as those of all chains;
    - ``"auto"``: the one of these under which the last quarter of each chain is most likely, fitted to the rest and
      then again to all draws; a later one replaces an earlier one if it is better by two standard errors, and
      ``"full"`` takes part for up to 500 weights. Chains that move between modes end with one Gaussian.

    Args:
        chains: ``(C, N, P)``, at least two draws in all, and two of each chain for a mixture.
        family: one of the names above.
        rank: number of principal components of ``"low_rank"`` and of each part of ``"mixture"``.
        weight_spec: names and shapes of the weights.

    Returns:
        A distribution with a density, of the dtype of the draws, in single precision at least.

    References:
        Tipping, Bishop, "Probabilistic principal component analysis", 1999.
        Schaefer, Strimmer, "A shrinkage approach to large-scale covariance matrix estimation", 2005.

    Example:
        >>> noise = torch.randn(4, 500, 2, generator=torch.Generator().manual_seed(0))
        >>> draws = noise @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])
        >>> density = fit_density(draws)
        >>> type(density).__name__, float((density.mean - draws.mean((0, 1))).abs().max()) < 1e-5
        ('LowRankGaussian', True)
    """
    check_choice("family", family, FAMILIES)
    check_floating("chains", check_shape("chains", chains, (None, None, None)))
    rank = check_size("rank", rank)
    if chains.shape[0] * chains.shape[1] < 2 or not chains.shape[2]:
        raise value_error("chains", expected="at least two draws of at least one weight", got=chains)
    if chains.device.type == "meta" or not bool(
        (chains.abs() < _LARGEST_ROOT * torch.finfo(chains.dtype).max ** 0.5).all()
    ):
        expected = f"known values whose squares {chains.dtype} can hold"
        raise value_error("chains", expected=expected, found="others among them")
    if family == "mixture" and chains.shape[1] < 2:
        raise value_error("chains", expected="at least two draws of each chain for a mixture", got=chains)
    if family == "auto":
        family = _most_likely(chains, rank)
    return _fitted(chains, family, rank, weight_spec)


def _most_likely(chains: Tensor, rank: int) -> str:
    """Return the family under which held-out draws are most likely."""
    count, size = chains.shape[1], chains.shape[2]
    kept = int(_PART * count)
    if kept < 2 or kept == count:
        return "mean_field"
    known, later = chains[:, :kept], chains[:, kept:].flatten(0, 1)
    names = ["mean_field", "low_rank", *(["full"] if size <= 500 else []), *(["mixture"] if len(chains) > 1 else [])]
    best, score = names[0], _fitted(known, names[0], rank, None).log_prob(later)
    for name in names[1:]:
        other = _fitted(known, name, rank, None).log_prob(later)
        gain = other - score
        if bool(gain.mean() > 2 * gain.std() / len(gain) ** 0.5):
            best, score = name, other
    return best


def _fitted(chains: Tensor, family: str, rank: int, spec: WeightSpec | None) -> WeightDistribution:
    if family == "mixture":
        parts = [_low_rank(draws, rank, spec) for draws in chains]
        return Mixture(torch.zeros_like(parts[0].loc[:1]).repeat(len(chains)), parts)
    draws = chains.flatten(0, 1)
    if family == "mean_field":
        mean, std = _moments(draws)
        loc, scale = _like(draws, mean, std)
        return MeanFieldGaussian(loc, scale, spec, validate_args=False)
    return _full(draws, spec) if family == "full" else _low_rank(draws, rank, spec)


def _like(draws: Tensor, *values: Tensor) -> list[Tensor]:
    """Return values in the dtype of the draws, or in single precision if that has fewer bits."""
    dtype = draws.dtype if draws.dtype.itemsize >= 4 else torch.float32
    return [value.to(draws.device, dtype) for value in values]


def _moments(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Compute means and standard deviations ``(P,)`` in double precision; one of 0 is replaced by a tiny one."""
    wide = precise(draws)
    mean, std = wide.mean(0), wide.std(0)
    floor = 1e-6 * torch.maximum(std.max(), mean.abs().max()).clamp_min(1e-6)
    return mean, std.clamp_min(floor)


def _full(draws: Tensor, spec: WeightSpec | None) -> LowRankGaussian:
    """Fit a Gaussian of any covariance, written as a factor of full rank and a diagonal below all eigenvalues."""
    mean, std = _moments(draws)
    unit = (precise(draws) - mean) / std
    count = len(unit)
    correlation = unit.T @ unit / (count - 1)
    # The variance of each correlation, and the intensity that minimizes the expected squared error.
    spread = (unit.square().T @ unit.square() / (count - 1) - correlation.square()).clamp_min(0) / (count - 1)
    across = ~torch.eye(len(std), dtype=torch.bool, device=std.device)
    between = correlation[across].square().sum()
    intensity = (spread[across].sum() / between.clamp_min(1e-300)).clamp(1e-6, 1.0) if len(std) > 1 else between + 1e-6
    correlation = torch.where(across, (1 - intensity) * correlation, 1.0)
    values, vectors = torch.linalg.eigh(correlation)
    least = 0.5 * values[0].clamp_min(1e-9)
    factor = std.unsqueeze(1) * vectors * (values - least).clamp_min(0).sqrt()
    loc, factor, diag = _like(draws, mean, factor, least * std.square())
    return LowRankGaussian(loc, factor, diag, spec, validate_args=False)


def _low_rank(draws: Tensor, rank: int, spec: WeightSpec | None) -> LowRankGaussian:
    """Fit a Gaussian with the variances of the draws and the correlations of the leading principal components."""
    mean, std = _moments(draws)
    unit = (precise(draws) - mean) / std
    count, size = unit.shape
    taken = min(rank, size - 1, count - 1)
    _, singular, right = torch.linalg.svd(unit, full_matrices=False)
    values = singular.square() / max(count - 1, 1)
    rest = (size - values[:taken].sum()).clamp_min(0) / max(size - taken, 1)
    factor = right[:taken].T * (values[:taken] - rest).clamp_min(0).sqrt()
    explained = factor.square().sum(1)
    # Where the components explain more than the variance of a weight, its row is made shorter.
    factor = factor * (0.999 / explained.clamp_min(0.999)).sqrt().unsqueeze(1)
    own = 1 - factor.square().sum(1)
    loc, factor, diag = _like(draws, mean, std.unsqueeze(1) * factor, std.square() * own)
    return LowRankGaussian(loc, factor, diag, spec, validate_args=False)
