"""SSGE: the spectral Stein gradient estimator."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...errors import check_number
from ..base import DrawEstimator, KLEstimate
from .kernels import check_width, gaussian_kernel, kernel_mean
from .scores import KernelSamples, Score, ScoreEstimator

__all__ = ["SSGE", "spectral_matrix"]


class SSGE(ScoreEstimator, DrawEstimator):
    r"""Gradient of the KL from the score of the samples, expanded in eigenfunctions of a kernel.

    With the kernel matrix :math:`K = U \Lambda U^\top` of ``M`` samples, the ``J`` leading eigenpairs and the width
    :math:`\ell`, the score at the samples themselves is

    .. math:: \hat s(X) = \ell^{-2}\, U_J \Lambda_J^{-1} U_J^\top (K - \mathrm{diag}(K 1))\, X,

    an ``M x M`` matrix times the samples: memory ``O(M P + M^2)``. With the median width it gives good directions for
    the hypernetwork's parameters at any dimension. It is blind to noise far below the width, so a learned sigma is
    refused; there is no value.

    Args:
        num_samples: samples ``M``, at least 2.
        width: kernel width, ``"median"`` or a number. A fixed width far below the distances makes the score zero.
        threshold: share of the eigenvalues' sum to keep; 1 keeps all above rounding.
        ridge: added to the kernel matrix's diagonal.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``width``; ``num_modes`` kept; ``kernel_mean``, the mean of the kernel between different samples (near 0 it is
        too narrow, near 1 too wide); ``stein_trace``, the share of dimensions that the score covers.

    References:
        Shi, Sun, Zhu, "A spectral approach to gradient estimation for implicit distributions", 2018.
    """

    def __init__(
        self,
        num_samples: int = 100,
        width: float | str = "median",
        threshold: float = 0.99,
        ridge: float = 0.0,
        *,
        num_draws: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.width = check_width(width)
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)
        self.ridge = check_number("ridge", ridge, 0.0)

    def _estimate_at(
        self, q: Distribution, p: Distribution, draw: WeightDraw, generator: torch.Generator | None
    ) -> KLEstimate:
        return self._estimate_from(KernelSamples.of(q, draw), p, generator)

    def _score(self, gram: Tensor, distances: Tensor, width: Tensor, num_weights: int) -> Score:
        kernel = gaussian_kernel(distances, width)
        matrix, kept = spectral_matrix(kernel, width, self.threshold, self.ridge)
        return Score(matrix, later={"num_modes": kept.sum, "kernel_mean": lambda: kernel_mean(kernel)})


def spectral_matrix(
    kernel: Tensor, width: Tensor, threshold: float = 0.99, ridge: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the matrix ``A`` of the score ``A X`` for a kernel matrix, and which eigenvalues were kept, ``(M,)``."""
    values, vectors = torch.linalg.eigh(kernel if not ridge else _lifted(kernel, ridge))
    # Eigenvalues are in ascending order: one is kept if those above it sum to less than the threshold.
    sums = values.clamp_min(0).cumsum(-1)
    kept = (sums > (1 - threshold) * sums[-1]) & (values > 1e-10 * values[-1])
    inverse = (vectors * torch.where(kept, values, math.inf).reciprocal()) @ vectors.T
    return torch.addmm(inverse * kernel.sum(-1), inverse, kernel, beta=-1) / width**2, kept


def _lifted(kernel: Tensor, ridge: float) -> Tensor:
    return kernel + ridge * torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
