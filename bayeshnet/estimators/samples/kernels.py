"""Distances between samples, and Gaussian kernels of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import check_choice, check_positive, value_error
from ...geometry.linalg import precise
from ...memo import host_may_look
from ...speed import shortcuts

__all__ = [
    "check_width",
    "column_block",
    "cross_distances",
    "gaussian_kernel",
    "gram_and_distances",
    "kernel_mean",
    "kernel_width",
]


def column_block(x: Tensor) -> int:
    """Return the number of columns of samples ``(M, P)`` to process at once."""
    return max(1, shortcuts().sample_block // max(1, x.shape[0]))


def gram_and_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute inner products of the centered samples ``(M, P)`` and squared distances between them, ``(M, M)`` each.

    They are accumulated block by block in double precision: no ``(M, M, P)`` tensor and no copy of the samples.
    """
    block = column_block(x)
    if x.shape[1] <= block:
        gram = _centered_gram(x)
    else:
        gram = precise(x.new_zeros(x.shape[0], x.shape[0]))
        for part in x.split(block, dim=1):
            gram += _centered_gram(part)
    norms = gram.diagonal()
    if host_may_look(x) and not math.isfinite(norms.sum()):
        raise value_error(
            "q",
            expected="draws of finite weights",
            found="NaN or infinity",
            hint="Look for them among the weights of the hypernetwork, its inputs and sigma.",
        )
    distances = torch.sub(norms[:, None] + norms, gram, alpha=2).clamp_min_(0)
    return gram, distances.fill_diagonal_(0)


def _centered_gram(x: Tensor) -> Tensor:
    """Return the inner products of the centered samples; small samples are multiplied in double precision."""
    centered = precise(x) if x.numel() <= shortcuts().precise_samples else x
    centered = centered - centered.mean(0)
    return precise(centered @ centered.T)


def cross_distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute squared distances ``(M, K)`` between rows of ``x`` ``(M, P)`` and ``y`` ``(K, P)``, differentiable."""
    center = y.detach().mean(0)
    left, right = precise(x - center), precise(y - center)
    norms = left.square().sum(-1)[:, None] + right.square().sum(-1)[None, :]
    return (norms - 2 * left @ right.T).clamp_min(0)


def gaussian_kernel(distances: Tensor, width: Tensor) -> Tensor:
    r"""Return :math:`\exp(-d / 2 \ell^2)` of squared distances."""
    return (-0.5 * distances / width**2).exp()


def kernel_mean(kernel: Tensor) -> Tensor:
    """Return the mean of a kernel ``(M, M)`` between different samples: near 0 it is too narrow, near 1 too wide."""
    num = kernel.shape[0]
    return (kernel.sum() - num) / (num * (num - 1))


def kernel_width(distances: Tensor, width: float | str) -> Tensor:
    """Return the width: a number, or the median of all pairwise distances, those of samples to themselves included."""
    if isinstance(width, str):
        return distances.flatten().median().sqrt().clamp_min(torch.finfo(distances.dtype).tiny)
    return torch.as_tensor(width, dtype=distances.dtype, device=distances.device)


def check_width(width: Any) -> float | str:
    """Check that a width is ``"median"`` or a number > 0."""
    if isinstance(width, str):
        found: float | str = check_choice("width", width, ("median",), "Or give a number > 0.")
        return found
    return check_positive("width", width, "Or 'median', which adapts to the distances.")
