"""A posterior and a prior, both made by hypernetworks, in the span of the prior's head and across it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...distributions.semi_implicit import SemiImplicit, total
from ...geometry import HeadGeometry
from .reduced import SingleHead, column, rotated, single_head

__all__ = ["Split"]


@dataclass(frozen=True)
class Split:
    r"""Weights of two hypernetworks in units of the prior's noise, :math:`(w - b) / s_p`, along its head and across it.

    The prior's weights are :math:`W a(z) + b` plus noise of standard deviations :math:`s_p`. The columns of ``Q`` are
    orthonormal and span those of :math:`\mathrm{diag}(s_p)^{-1} W`. Across them the prior is noise, :math:`N(0, I)`.

    Attributes:
        ours: map and head of the posterior in these units.
        theirs: map and head of the prior in these units, without bias.
        basis: the orthonormal columns ``Q`` ``(P, H)``.
        ratio: standard deviations of the posterior in these units, ``()`` or ``(P,)``.
        log_volume: sum of the logarithms of :math:`s_p`.
    """

    ours: SingleHead
    theirs: SingleHead
    basis: Tensor
    ratio: Tensor
    log_volume: Tensor

    @classmethod
    def of(cls, q: SemiImplicit, p: SemiImplicit) -> Split | None:
        """Split the weights; None unless both maps end in one head, that of ``p`` with fewer columns than weights."""
        ours, theirs = single_head(q.geometry), single_head(p.geometry)
        if ours is None or theirs is None or theirs.weight.shape[1] >= len(theirs.weight):
            return None
        width = p.scale * p.sigma
        offset = (q.unwhiten(ours.bias) - p.unwhiten(theirs.bias)) / width
        return cls(
            SingleHead(ours.body, column(q.scale / width) * ours.weight, offset),
            SingleHead(theirs.body, theirs.weight / column(p.sigma), torch.zeros_like(offset)),
            torch.linalg.qr(theirs.weight / column(p.sigma)).Q,
            q.scale * q.sigma / width,
            total(width.log(), len(offset)),
        )

    @property
    def dimensions(self) -> int:
        """The number of dimensions across the head."""
        return self.basis.shape[0] - self.basis.shape[1]

    @property
    def trace(self) -> Tensor:
        """The expected squared norm of the posterior's noise across the head."""
        return total(self.ratio**2, len(self.basis)) - (column(self.ratio) * self.basis).square().sum()

    @property
    def log_det(self) -> Tensor:
        """The log-determinant of the covariance of the posterior's noise across the head."""
        within: Tensor = torch.linalg.slogdet(self.basis.mT @ (self.basis / column(self.ratio**2)))[1]
        return within + 2 * total(self.ratio.log(), len(self.basis))

    def half_square(self) -> Callable[[Tensor], Tensor]:
        """Return half the squared norms of what the posterior generates across the head, as a function of latents."""
        matrix, offset = (_across(self.basis, part) for part in (self.ours.weight, self.ours.bias))
        generated = rotated(self.ours.body, matrix, offset)
        return lambda z: 0.5 * generated(z).square().sum(-1)

    def posterior_across(self) -> SemiImplicit:
        """Return a posterior with the mutual information of the weights across the head."""
        own = torch.linalg.qr(self.basis / column(self.ratio)).Q
        return SemiImplicit(rotated(self.ours.body, _across(own, self.ours.weight / column(self.ratio))), 1.0)

    def along(self) -> tuple[SemiImplicit, SemiImplicit, Tensor]:
        """Return posterior and prior along the head, and the matrix ``(H, H)`` from the numbers of one to the other's.

        The noise of both is one. The matrix is a root of the covariance of the posterior's noise along the head.
        """
        scaled = column(self.ratio) * self.basis
        root = torch.linalg.cholesky(scaled.mT @ scaled)
        columns = self.basis.mT @ torch.cat([self.ours.weight, self.ours.bias.unsqueeze(-1)], 1)
        solved, size = torch.linalg.solve_triangular(root, columns, upper=False), len(root)
        q = HeadGeometry(self.ours.body, solved[:, :-1], solved[:, -1], size)
        p = HeadGeometry(self.theirs.body, self.basis.mT @ self.theirs.weight, None, size)
        return SemiImplicit(q, 1.0), SemiImplicit(p, 1.0), root


def _across(basis: Tensor, matrix: Tensor) -> Tensor:
    """Return what is orthogonal to orthonormal columns ``(P, H)``, of vectors or columns of a matrix."""
    return matrix - basis @ (basis.mT @ matrix)
