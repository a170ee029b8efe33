"""The nu-method with a curl-free kernel: a nonparametric score estimate that is a gradient field."""

from __future__ import annotations

import torch
from torch import Tensor

from ...deprecation import renamed_arguments
from ...errors import check_choice, check_positive
from .kernels import check_width
from .scores import Score, ScoreEstimator

__all__ = ["NuMethod"]


class NuMethod(ScoreEstimator):
    r"""Gradient of the KL from vector-valued regression of the score, by accelerated iteration.

    The score is sought in the space of the curl-free kernel :math:`\Gamma(x, y) = -\nabla^2 \psi(x - y)` of an inverse
    multiquadric :math:`\psi(r) = (1 + |r|^2 / \ell^2)^{-1/2}`, as the solution of :math:`L f = -\zeta` with

    .. math:: L f = \tfrac1M \sum_m \Gamma(\cdot, x_m) f(x_m), \qquad
        \zeta = \tfrac1M \sum_m \mathrm{div}_{x_m} \Gamma(x_m, \cdot),

    by :math:`t \approx \lambda^{-1/2}` steps of the nu-method. All iterates are linear combinations of the samples, so
    the iteration runs on ``M x M`` matrices, whatever the dimension. The kernel is scaled to unit norm, so that
    ``regularization`` does not depend on the width. Like :class:`SSGE` it has no value.

    A gradient field satisfies the trace of Stein's identity, :math:`-E\, \hat s(x)^\top x = P`. Where the samples
    span only a few of ``P`` dimensions, the whole trace falls on these and the gradient is too long by the ratio, a
    hundred in common cases. So the divergence counts the *effective* dimension of the samples by default. For nearly
    linear maps the gradient then has between a third and the whole of the true length, and directions like those of the
    other kernel methods. Where the samples lie along a curve, or in three dimensions of unequal width, its entropy
    gradient may point elsewhere: use it for comparison, not as a default.

    Args:
        num_samples: samples ``M``, at least 2.
        width: kernel width, ``"median"`` or a number.
        regularization: :math:`\lambda`; smaller means more steps.
        nu: parameter of the iteration.
        dimension: ``"effective"`` (participation ratio of the samples' variances) or ``"full"`` (all ``P``, the
            published method).
        num_draws: old name of ``num_samples``.

    Diagnostics:
        ``width``; ``num_steps``; ``dimension``; ``stein_trace`` as for :class:`SSGE`.

    References:
        Zhou, Shi, Zhu, "Nonparametric score estimators", 2020.
    """

    @renamed_arguments(regularisation="regularization")
    def __init__(
        self,
        num_samples: int = 100,
        width: float | str = "median",
        regularization: float = 1e-5,
        nu: float = 1.0,
        dimension: str = "effective",
        *,
        num_draws: int | None = None,
    ) -> None:
        self.num_samples = self._check_count(num_samples, num_draws=num_draws)
        self.width = check_width(width)
        self.regularization = check_positive("regularization", regularization)
        self.nu = check_positive("nu", nu)
        self.dimension = check_choice("dimension", dimension, ("effective", "full"))

    def _score(self, gram: Tensor, distances: Tensor, width: Tensor, num_weights: int) -> Score:
        steps = max(1, round(self.regularization**-0.5))
        full = gram.new_full((), num_weights)
        size = gram.trace() ** 2 / gram.square().sum() if self.dimension == "effective" else full
        matrix = self._iterate(_CurlFree(gram, distances, width, size), steps)
        return Score(matrix, {"num_steps": steps, "dimension": size})

    def _iterate(self, kernel: _CurlFree, steps: int) -> Tensor:
        """Return the matrix of the score after ``steps`` steps."""
        nu = self.nu
        zeta = kernel.divergence
        num = zeta.shape[0]
        level, old_level = -(4 * nu + 2) / (4 * nu + 1), 0.0
        coefficients, old = torch.zeros_like(zeta), torch.zeros_like(zeta)
        for t in range(2, steps + 1):
            momentum = (t - 1) * (2 * t - 3) * (2 * t + 2 * nu - 1)
            momentum /= (t + 2 * nu - 1) * (2 * t + 4 * nu - 1) * (2 * t + 2 * nu - 3)
            rate = 4 * (2 * t + 2 * nu - 1) * (t + nu - 1) / ((t + 2 * nu - 1) * (2 * t + 4 * nu - 1))
            field = level * zeta + kernel.times(coefficients)
            fresh = (1 + momentum) * coefficients - momentum * old - (rate / num) * field
            coefficients, old = fresh, coefficients
            level, old_level = (1 + momentum) * level - momentum * old_level - rate, level
        return level * zeta + kernel.times(coefficients)


class _CurlFree:
    r"""The curl-free kernel on fields :math:`c = A X` at the samples, represented by ``A`` ``(M, M)``.

    With :math:`\psi = \varphi(|r|^2)`, :math:`\Gamma = -2 \varphi' I - 4 \varphi'' r r^\top`, and
    :math:`\mathrm{div}\, \Gamma = -(4 (d + 2) \varphi'' + 8 |r|^2 \varphi''')\, r` in :math:`d` dimensions.
    """

    def __init__(self, gram: Tensor, distances: Tensor, width: Tensor, size: Tensor) -> None:
        scaled = 1 + distances / width**2
        self.gram = gram
        # Derivatives of (1 + s / l^2)^(-1/2) times l^2: the kernel's norm is then one at coinciding points.
        self.first = -0.5 * scaled**-1.5
        self.second = 0.75 * scaled**-2.5 / width**2
        third = -1.875 * scaled**-3.5 / width**4
        pull = 4 * (size + 2) * self.second + 8 * distances * third
        self.divergence = (torch.diag(pull.sum(-1)) - pull) / gram.shape[0]

    def times(self, coefficients: Tensor) -> Tensor:
        """Apply the kernel to the field with the given coefficients; return the coefficients of the result."""
        products = self.gram @ coefficients.T
        along = -4 * self.second * (products - products.diagonal())
        return -2 * self.first @ coefficients + torch.diag(along.sum(-1)) - along
