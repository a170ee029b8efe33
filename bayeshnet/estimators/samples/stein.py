"""The Stein gradient estimator."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution

from ...errors import check_int, check_positive
from .._split import number_of_samples
from ..base import KLEstimate, KLEstimator
from .kernels import KernelSamples, check_width, gram_and_distances, kernel_width, score_estimate, stein_trace

__all__ = ["Stein"]


class Stein(KLEstimator):
    r"""Gradient of the KL from a score that satisfies Stein's identity at the samples, up to a ridge.

    .. math:: \hat s(X) = \ell^{-2} (K + \eta I)^{-1} (K - \mathrm{diag}(K 1))\, X .

    No number of modes to choose; otherwise like :class:`SSGE`, with the same blindness to small noise and without a
    value.

    Args:
        num_draws: samples ``M``, at least 2.
        width: kernel width, ``"median"`` or a number.
        ridge: the regularization :math:`\eta`.

    References:
        Li, Turner, "Gradient estimators for implicit models", 2018.
    """

    def __init__(self, num_draws: int = 100, width: float | str = "median", ridge: float = 0.01) -> None:
        self.num_draws = check_int("num_draws", num_draws, 2)
        self.width = check_width(width)
        self.ridge = check_positive("ridge", ridge)

    def estimate(
        self,
        q: Distribution | nn.Module,
        p: Distribution | nn.Module,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
    ) -> KLEstimate:
        """The gradient from ``num_samples`` draws (``num_draws`` if None); ``value`` is None."""
        samples = KernelSamples.take(q, number_of_samples(num_samples, self.num_draws, 2), "Stein", generator)
        with torch.no_grad():
            gram, distances = gram_and_distances(samples.x)
            width = kernel_width(distances, self.width)
            kernel = (-0.5 * distances / width**2).exp()
            num = kernel.shape[0]
            eye = torch.eye(num, dtype=kernel.dtype, device=kernel.device)
            pulled = kernel - torch.diag(kernel.sum(-1))
            matrix = torch.cholesky_solve(pulled, torch.linalg.cholesky(kernel + self.ridge * eye)) / width**2
        size = samples.x.shape[1]
        later = {
            "kernel_mean": lambda: (kernel.sum() - num) / (num * (num - 1)),
            "stein_trace": lambda: stein_trace(matrix, gram, size),
        }
        return score_estimate(samples, p, matrix, {"width": width}, later)
