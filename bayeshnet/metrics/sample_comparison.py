"""Comparison of posterior samples with reference samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import value_error
from .distances import mmd, sliced_wasserstein

__all__ = ["SampleComparison", "compare_samples", "predictive_total_variation"]


@dataclass(frozen=True)
class SampleComparison:
    """Distances between samples and reference samples of the same unknowns.

    Attributes:
        sliced_wasserstein: sliced Wasserstein distance, in the units of the unknowns.
        mmd: squared maximum mean discrepancy with a Gaussian kernel of median width.
        mean_error: largest error of a mean, in standard deviations of the reference.
        std_ratio: smallest and largest ratio of the standard deviations of the samples to those of the reference.
    """

    sliced_wasserstein: float
    mmd: float
    mean_error: float
    std_ratio: tuple[float, float]


def compare_samples(samples: Tensor, reference: Tensor, generator: torch.Generator | None = None) -> SampleComparison:
    """Compare samples ``(S, D)`` with reference samples ``(R, D)``.

    Example:
        >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> compare_samples(x + 1.0, x).mean_error > 0.9
        True
    """
    for name, value in (("samples", samples), ("reference", reference)):
        if value.ndim != 2 or len(value) < 2 or value.shape[1] != reference.shape[1]:
            raise value_error(name, expected=f"a tensor of shape (S, {reference.shape[-1]}), S > 1", got=value)
    scale = reference.std(0)
    ratio = samples.std(0) / scale
    return SampleComparison(
        float(sliced_wasserstein(samples, reference, generator=generator)),
        float(mmd(samples, reference)),
        float(((samples.mean(0) - reference.mean(0)) / scale).abs().max()),
        (float(ratio.min()), float(ratio.max())),
    )


def predictive_total_variation(probs: Tensor, reference: Tensor) -> Tensor:
    r"""Compute :math:`\tfrac12 \sum_c |p_c - r_c|` between class probabilities ``(N, C)``, mean over inputs, in [0, 1].

    Example:
        >>> predictive_total_variation(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.5000)
    """
    if probs.shape != reference.shape or probs.ndim != 2:
        raise value_error("probs", expected=f"a tensor of shape {tuple(reference.shape)}", got=probs)
    return 0.5 * (probs - reference).abs().sum(-1).mean()
