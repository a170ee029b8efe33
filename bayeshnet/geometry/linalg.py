"""Dense linear algebra of ``n x n`` matrices, in double precision where the device has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..memo import host_may_look, transforms_active

__all__ = [
    "capacitance_cholesky",
    "half_log_det",
    "identity_plus_cholesky",
    "precise",
    "smallest_eigenvalue",
    "try_identity_plus_cholesky",
]


def precise(x: Tensor) -> Tensor:
    """Convert ``x`` to float64, unless its device has none."""
    return x if x.device.type == "mps" else x.double()


def identity_plus_cholesky(gram: Tensor) -> Tensor:
    r"""Compute the Cholesky factor of :math:`I + G` for positive semi-definite ``gram`` ``(*B, n, n)``, in float64.

    Low rank is harmless, as :math:`I + G \succeq I`. A Gram matrix computed in single precision may have negative
    eigenvalues by rounding; then eigenvalues of that size are set to zero. NaN or infinity raises.

    On devices other than the CPU the host reads no value: a matrix that cannot be factored gets the size of rounding
    errors on its diagonal, and the factor of NaN or infinity is NaN.
    """
    matrix = _identity_plus(gram)
    if not host_may_look(matrix):
        return _unread_cholesky(matrix, torch.finfo(gram.dtype).eps)
    root, info = torch.linalg.cholesky_ex(matrix)
    if bool(info.any()):
        found: Tensor = torch.linalg.cholesky(_repaired(matrix))
        return found
    found = root
    return found


def _unread_cholesky(matrix: Tensor, eps: float) -> Tensor:
    """Factor ``I + G`` ``(*B, n, n)``, raised by rounding errors of relative size ``eps`` where that fails."""
    with torch.no_grad():
        _, info = torch.linalg.cholesky_ex(matrix)
        errors = eps * matrix.shape[-1] * matrix.diagonal(dim1=-2, dim2=-1).abs().sum(-1)
        raised = torch.where(info > 0, errors, torch.zeros_like(errors))
    root, info = torch.linalg.cholesky_ex(matrix + torch.diag_embed(raised.unsqueeze(-1).expand(matrix.shape[:-1])))
    found: Tensor = root.masked_fill((info > 0)[..., None, None], torch.nan)
    return found


def try_identity_plus_cholesky(gram: Tensor) -> tuple[Tensor, bool]:
    """Compute the same without repair, and whether all matrices are positive definite."""
    root, info = torch.linalg.cholesky_ex(_identity_plus(gram))
    return root, not bool(info.any())


def _identity_plus(gram: Tensor) -> Tensor:
    matrix = precise(gram)
    return matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _repaired(matrix: Tensor) -> Tensor:
    """Remove from ``I + G`` eigenvalues of ``G`` that are rounding errors, judged by the most negative one."""
    if not bool(torch.isfinite(matrix.detach()).all()):
        raise ValueError(
            "gram: expected finite values, got NaN or infinity. Look at the weights of the hypernetwork and at sigma."
        )
    matrix = 0.5 * (matrix + matrix.mT)
    values, vectors = torch.linalg.eigh(matrix.detach())
    excess = values - 1
    rounding = 2 * (-excess[..., :1]).clamp_min(0) + torch.finfo(matrix.dtype).eps * values[..., -1:].clamp_min(1)
    lift = torch.where(excess <= rounding, -excess, torch.zeros_like(excess))
    found: Tensor = matrix + (vectors * lift.unsqueeze(-2)) @ vectors.mT
    return found


class _HalfLogDet(torch.autograd.Function):
    """The log-determinant; its gradient, half the inverse, reuses the Cholesky factor."""

    @staticmethod
    def forward(ctx: Any, gram: Tensor, root: Tensor | None, inverse: Tensor | None) -> Tensor:
        root = identity_plus_cholesky(gram) if root is None else root
        ctx.save_for_backward(gram, root, inverse)
        return _sum_of_logs(root)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        gram, root, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            inverse = torch.cholesky_inverse(identity_plus_cholesky(gram))
        elif inverse is None:
            inverse = torch.cholesky_inverse(root)
        return (inverse * (0.5 * grad)[..., None, None]).to(gram), None, None


def half_log_det(gram: Tensor, root: Tensor | None = None, inverse: Tensor | None = None) -> Tensor:
    r"""Compute :math:`\tfrac12 \log\det(I + G)` for each Gram matrix ``(*B, n, n)``, in double precision.

    The Cholesky factors and the inverses of :math:`I + G` may be given, without gradient.
    """
    if transforms_active():
        return _sum_of_logs(identity_plus_cholesky(gram))
    found: Tensor = _HalfLogDet.apply(gram, root, inverse)  # type: ignore[no-untyped-call]
    return found


def _sum_of_logs(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def capacitance_cholesky(factor: Tensor, diag: Tensor) -> Tensor:
    r"""Compute the Cholesky factor of :math:`I_r + F^\top \mathrm{diag}(d)^{-1} F` ``(r, r)``."""
    return identity_plus_cholesky(factor.T @ (factor / diag.unsqueeze(-1)))


def smallest_eigenvalue(matrix: Tensor) -> Tensor:
    r"""Compute the smallest eigenvalue of positive definite matrices ``(*B, n, n)``, without waiting for a device.

    Solvers of eigenvalues look at whether they succeeded. Here the inverse is squared eight times, which is power
    iteration with 256 steps; the quotient :math:`v^\top A v` of the vector that it leads to is at least the smallest
    eigenvalue, and its gradient is :math:`v v^\top`. Zero where the matrix has no inverse.
    """
    with torch.no_grad():
        power, _ = torch.linalg.inv_ex(precise(matrix))
        for _ in range(8):
            power = power / power.abs().amax((-2, -1), keepdim=True)
            power = power @ power
        column = power.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*power.shape[:-1], 1)
        vector = power.gather(-1, column)
        vector = (vector / torch.linalg.vector_norm(vector, dim=-2, keepdim=True)).nan_to_num(0, 0, 0).to(matrix)
    found: Tensor = (vector.mT @ matrix @ vector)[..., 0, 0]
    return found
