"""The Stein gradient estimator."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import check_positive
from .kernels import check_width, gaussian_kernel, kernel_mean
from .scores import Score, ScoreEstimator

__all__ = ["Stein"]


class Stein(ScoreEstimator):
    r"""Gradient of the KL from a score that satisfies Stein's identity at the samples, up to a ridge.

    .. math:: \hat s(X) = \ell^{-2} (K + \eta I)^{-1} (K - \mathrm{diag}(K 1))\, X .

    There is no number of modes to choose; otherwise it is like :class:`SSGE`, blind to small noise and without a value.

    Args:
        num_samples: samples ``M``, at least 2.
        width: kernel width, ``"median"`` or a number.
        ridge: the regularization :math:`\eta`.
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``width``; ``kernel_mean`` and ``stein_trace`` as for :class:`SSGE`.

    References:
        Li, Turner, "Gradient estimators for implicit models", 2018.
    """

    def __init__(
        self,
        num_samples: int = 100,
        width: float | str = "median",
        ridge: float = 0.01,
        *,
        num_draws: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.width = check_width(width)
        self.ridge = check_positive("ridge", ridge)

    def _score(self, gram: Tensor, distances: Tensor, width: Tensor, num_weights: int) -> Score:
        kernel = gaussian_kernel(distances, width)
        eye = torch.eye(kernel.shape[0], dtype=kernel.dtype, device=kernel.device)
        pulled = kernel - torch.diag(kernel.sum(-1))
        root, _ = torch.linalg.cholesky_ex(kernel + self.ridge * eye)  # of NaN it is NaN, without a look at the result
        matrix = torch.cholesky_solve(pulled, root) / width**2
        return Score(matrix, later={"kernel_mean": lambda: kernel_mean(kernel)})
