"""The factor of ``I + G`` and its log-determinant for a geometry, right whatever the precision of its parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import value_error
from ..memo import transforms_active
from .base import Geometry, Precision
from .linalg import half_log_det, identity_plus_cholesky, try_identity_plus_cholesky
from .products import double_products

__all__ = ["information_at", "information_root", "lost_share", "needs_double_products", "refuse_lost"]

_MOST_LOST = 2e-3
"""Share of the least eigenvalue that may be lost before products are formed in double precision."""


def information_at(geometry: Geometry, z: Tensor, precision: Precision) -> Tensor:
    r"""Compute :math:`\tfrac12 \log\det(I + J^\top \Lambda J)` at latents ``z`` ``(*B, n)``: ``(*B,)``.

    On the CPU a Gram matrix in single precision is kept if its inverse shows that no singular value is lost in the
    rounding errors of the largest one; otherwise it is formed again from the same Jacobian in double precision. On
    other devices, where reading a number would make the program wait, and under transforms of functions, products are
    in double precision from the start; a device without it (``mps``) keeps its own.
    """
    return half_log_det(*_settled(geometry, z, precision))


def information_root(geometry: Geometry, z: Tensor, precision: Precision) -> Tensor:
    r"""Compute the Cholesky factor of :math:`I + J^\top \Lambda J`, as :func:`information_at` does: ``(*B, n, n)``."""
    gram, root, _ = _settled(geometry, z, precision)
    return root if root is not None and not gram.requires_grad else identity_plus_cholesky(gram)


def _settled(geometry: Geometry, z: Tensor, precision: Precision) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return a Gram matrix; where they are known, factor and inverse of its sum with the identity, without gradient."""
    if z.dtype == torch.float64 or z.device.type == "mps":
        return geometry.gram(z, precision), None, None
    if z.device.type == "cpu" and not transforms_active():
        gram = geometry.gram(z, precision)
        root, sound = try_identity_plus_cholesky(gram.detach())
        inverse = torch.cholesky_inverse(root) if sound else root
        if sound and not bool((lost_share(root, inverse, gram.dtype) > _MOST_LOST).any()):
            return gram, root, inverse
    with double_products():
        return geometry.gram(z, precision), None, None


def lost_share(root: Tensor, inverse: Tensor, dtype: torch.dtype) -> Tensor:
    """Return rounding errors of matrices ``I + G`` in ``dtype`` relative to their least eigenvalues ``(*B,)``.

    The matrices ``(*B, n, n)`` are given by their factors and inverses. The errors are those of the largest entry.
    """
    if root.shape[-1] == 0:
        return root.new_zeros(root.shape[:-2])
    largest = (root * root).sum(-1).amax(-1)
    return torch.finfo(dtype).eps * largest * inverse.diagonal(dim1=-2, dim2=-1).amax(-1)


def needs_double_products(root: Tensor, dtype: torch.dtype) -> bool:
    """Return whether differences of densities need products in double precision; True where reading a number waits."""
    if dtype == torch.float64 or root.device.type == "mps" or root.shape[-1] == 0:
        return False
    if root.device.type != "cpu" or transforms_active():
        return True
    return bool((lost_share(root, torch.cholesky_inverse(root), dtype) > _MOST_LOST / 20).any())


def refuse_lost(root: Tensor, dtype: torch.dtype, most: float) -> None:
    """Raise ValueError if ``dtype`` loses more than a share of the least eigenvalue of ``I + G``, given by its factors.

    It looks at numbers, so on the CPU alone, and not under transforms of functions.
    """
    if dtype == torch.float64 or root.device.type != "cpu" or transforms_active() or root.shape[-1] == 0:
        return
    if bool((lost_share(root, torch.cholesky_inverse(root), dtype) > most).any()):
        raise value_error("q", expected="a map whose density its precision can hold", found=described_loss(root, dtype))


def described_loss(root: Tensor, dtype: torch.dtype) -> str:
    """Describe the singular values of Jacobians over sigma, of which some are lost in ``dtype``."""
    values = torch.linalg.svdvals(root).square().sub(1).clamp_min(0).sqrt()
    kind = str(dtype).removeprefix("torch.")
    span = f"{float(values.min()):.1e} to {float(values.max()):.1e}"
    return f"one in {kind} with singular values of the Jacobian of {span} sigma: make it in float64"
