"""Comparison of posterior samples with reference samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import value_error
from ._checks import check_generator, check_no_overflow, check_numbers, check_probs, check_same_device
from .distances import median_distance, mmd, sliced_wasserstein

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
    samples, reference = _pair(samples, reference)
    check_generator(generator)
    # With squared distances from the mean, those of all pairs are finite.
    everything = torch.cat([samples, reference])
    check_no_overflow("samples", 4 * (everything - everything.mean(0)).square().sum(1))
    scale, width = reference.std(0), median_distance(samples, reference)
    if bool((scale == 0).any()) or float(width) == 0:
        raise value_error("reference", expected="unknowns that vary", found="a standard deviation of 0")
    ratio = check_no_overflow("samples", samples.std(0) / scale)
    errors = check_no_overflow("samples", (samples.mean(0) - reference.mean(0)) / scale)
    return SampleComparison(
        float(sliced_wasserstein(samples, reference, generator=generator)),
        float(mmd(samples, reference, width)),
        float(errors.abs().max()),
        (float(ratio.min()), float(ratio.max())),
    )


def _pair(samples: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sets of samples, at least two in each, in one precision and without gradients."""
    reference = check_numbers("reference", reference, "a floating tensor (R, D)").detach()
    samples = check_numbers("samples", samples, "a floating tensor (S, D)").detach()
    columns = reference.shape[1] if reference.ndim == 2 else 0
    for name, value in (("reference", reference), ("samples", samples)):
        if value.ndim != 2 or len(value) < 2 or value.shape[1] != columns:
            raise value_error(name, expected="samples of the same unknowns (S, D), S > 1", got=value)
    dtype = torch.promote_types(check_same_device("samples", samples, reference).dtype, reference.dtype)
    return samples.to(dtype), reference.to(dtype)


def predictive_total_variation(probs: Tensor, reference: Tensor) -> Tensor:
    r"""Compute :math:`\tfrac12 \sum_c |p_c - r_c|` between class probabilities ``(N, C)``, mean over inputs, in [0, 1].

    Example:
        >>> predictive_total_variation(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.5000)
    """
    probs, reference = check_probs(probs), check_probs(reference, "reference")
    if probs.ndim != 2 or probs.shape != reference.shape:
        raise value_error("probs", expected=f"a tensor (N, C), of shape {tuple(reference.shape)}", got=probs)
    check_same_device("reference", reference, probs)
    return 0.5 * (probs - reference).abs().sum(-1).mean()
