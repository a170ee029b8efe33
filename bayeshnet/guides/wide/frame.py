"""Coordinates in which a posterior is near a standard normal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Frame"]


class Frame(nn.Module):
    r"""The affine bijection :math:`x = m + L u` with a lower triangular ``L``, whose density is known.

    A guide that generates ``u`` in place of ``x`` learns in units of the posterior's standard deviations, whatever the
    correlations of the unknowns. It is not learned.

    Args:
        loc: origin ``m``, ``(D,)``.
        root: factor ``L``, ``(D, D)``, with positive entries on its diagonal.

    Example:
        >>> frame = Frame(torch.ones(2), torch.tensor([[2.0, 0.0], [1.0, 0.5]]))
        >>> x, log_density = frame.place(torch.tensor([1.0, -1.0]))
        >>> x.tolist(), frame.undo(x).tolist(), float(log_density.sum())
        ([3.0, 1.5], [1.0, -1.0], 0.0)
    """

    def __init__(self, loc: Tensor, root: Tensor) -> None:
        super().__init__()
        self.loc: Tensor
        self.root: Tensor
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("root", root.detach().clone())

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return ``x`` ``(*B, D)`` and the log-density of the change, :math:`-\log L_{ii}`, for each entry."""
        x = self.loc + u @ self.root.mT
        return x, (-self.root.diagonal().log()).expand(x.shape)

    def undo(self, x: Tensor) -> Tensor:
        """Return ``u`` ``(*B, D)``."""
        away = (x - self.loc).reshape(-1, len(self.loc))
        found: Tensor = torch.linalg.solve_triangular(self.root, away.mT, upper=False).mT
        return found.reshape(x.shape)
