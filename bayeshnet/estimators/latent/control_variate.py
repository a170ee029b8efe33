"""A control variate for the mutual information of nearly linear hypernetworks."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit
from ...geometry.information import information_root
from ..draws import latent_and_noise

__all__ = ["linear_noise"]


def linear_noise(q: SemiImplicit, draw: WeightDraw) -> tuple[Tensor, Tensor]:
    r"""Return noise per draw with mean zero and LIVI's half log-determinants, ``(S,)`` each.

    The gradient of the noise has mean zero as well.

    The linearized information per draw is :math:`\tfrac12 [\log\det P + |z|^2 - (b - z)^\top P^{-1} (b - z)]` with
    :math:`P = I + G` and :math:`b = J^\top \varepsilon / \sigma`, which given ``z`` has covariance ``G``. So

    .. math:: \tfrac12 [n - \mathrm{tr} P^{-1} + z^\top P^{-1} z - (b - z)^\top P^{-1} (b - z)]
        + \tfrac12 [z^\top C z - \mathrm{tr}\, C]

    has mean zero: the first part over :math:`\varepsilon`, the second over ``z`` for any matrix ``C`` that does not
    depend on it, here the mean of :math:`I - P^{-1}` over the other draws. For a linear hypernetwork it is the whole
    deviation from the mean.
    """
    z0, eps = latent_and_noise(draw)
    root = information_root(q.geometry, z0, q.sigma**-2)
    num, n = z0.shape
    z = z0.to(root)
    pulled = q.geometry.vjp(z0, eps / q.sigma).to(root) - z
    eye = torch.eye(n, dtype=root.dtype, device=root.device).expand_as(root)
    columns = torch.cat([torch.stack([pulled, z], dim=-1), eye], dim=-1)
    solved = torch.linalg.solve_triangular(root, columns, upper=False)
    squares = solved.square().sum(-2)
    noise = n - squares[..., 2:].sum(-1) + squares[..., 1] - squares[..., 0]
    inverse = (solved[..., 2:].mT @ solved[..., 2:]).detach()
    others = eye - (inverse.sum(0) - inverse) / max(1, num - 1) if num > 1 else torch.zeros_like(inverse)
    scatter = ((others @ z.unsqueeze(-1)).squeeze(-1) * z).sum(-1) - others.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 0.5 * (noise + scatter), root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
