"""SSGE: the spectral Stein gradient estimator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...errors import check_int, check_number
from .._split import number_of_samples
from ..base import KLEstimate, KLEstimator
from .kernels import KernelSamples, check_width, gram_and_distances, kernel_width, score_estimate, stein_trace

__all__ = ["SSGE"]


class SSGE(KLEstimator):
    r"""Gradient of the KL from the score of the samples, expanded in eigenfunctions of a kernel.

    With the kernel matrix :math:`K = U \Lambda U^\top` of ``M`` samples, the ``J`` leading eigenpairs and the width
    :math:`\ell`, the score at the samples themselves is

    .. math:: \hat s(X) = \ell^{-2}\, U_J \Lambda_J^{-1} U_J^\top (K - \mathrm{diag}(K 1))\, X,

    an ``M x M`` matrix times the samples: memory ``O(M P + M^2)``. Good directions for the hypernetwork's parameters
    at any dimension, with the median width. Blind to noise far below the width, so that a learned sigma is refused;
    there is no value.

    Args:
        num_draws: samples ``M``, at least 2.
        width: kernel width, ``"median"`` or a number. A fixed width far below the distances makes the score zero.
        threshold: share of the eigenvalues' sum to keep; 1 keeps all above rounding.
        ridge: added to the kernel matrix's diagonal.

    References:
        Shi, Sun, Zhu, "A spectral approach to gradient estimation for implicit distributions", 2018.
    """

    def __init__(
        self, num_draws: int = 100, width: float | str = "median", threshold: float = 0.99, ridge: float = 0.0
    ) -> None:
        self.num_draws = check_int("num_draws", num_draws, 2)
        self.width = check_width(width)
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)
        self.ridge = check_number("ridge", ridge, 0.0)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """The gradient from ``num_samples`` draws (``num_draws`` if None); ``value`` is None.

        Returns:
            Diagnostics ``width``, ``num_modes`` kept, ``kernel_mean`` (mean of the kernel between different samples:
            near 0 it is too narrow, near 1 too wide) and ``stein_trace``, the share of dimensions that the score sees.
        """
        num = number_of_samples(num_samples, self.num_draws, 2)
        return self._estimate(KernelSamples.take(q, num, "SSGE", generator), p)

    def estimate_at(
        self,
        q: Distribution,
        p: Distribution | nn.Module,
        draw: WeightDraw,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate | None:
        """The same from draws that are there already."""
        num = number_of_samples(num_samples, self.num_draws, 2)
        return self._estimate(KernelSamples.of(q, draw.first(num), "SSGE"), p) if num <= draw.w.shape[0] else None

    def _estimate(self, samples: KernelSamples, p: Distribution | nn.Module) -> KLEstimate:
        with torch.no_grad():
            gram, distances = gram_and_distances(samples.x)
            width = kernel_width(distances, self.width)
            kernel = (-0.5 * distances / width**2).exp()
            matrix, kept = self._score_matrix(kernel, width)
        num, size = samples.x.shape
        diagnostics: dict[str, Callable[[], Any]] = {
            "num_modes": kept.sum,
            "kernel_mean": lambda: (kernel.sum() - num) / (num * (num - 1)),
            "stein_trace": lambda: stein_trace(matrix, gram, size),
        }
        return score_estimate(samples, p, matrix, {"width": width}, diagnostics)

    def _score_matrix(self, kernel: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix ``A`` of the score ``A X``, and which modes are kept."""
        values, vectors = torch.linalg.eigh(kernel if not self.ridge else _lifted(kernel, self.ridge))
        # Eigenvalues come in ascending order; less than the threshold lies above a kept one.
        sums = values.clamp_min(0).cumsum(-1)
        kept = (sums > (1 - self.threshold) * sums[-1]) & (values > 1e-10 * values[-1])
        inverse = (vectors * torch.where(kept, values, math.inf).reciprocal()) @ vectors.T
        return torch.addmm(inverse * kernel.sum(-1), inverse, kernel, beta=-1) / width**2, kept


def _lifted(kernel: Tensor, ridge: float) -> Tensor:
    return kernel + ridge * torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
