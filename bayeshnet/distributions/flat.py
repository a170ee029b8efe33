"""The improper distribution of density one, to which a KL is a negative entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ..representation import Settings

__all__ = ["Flat"]


class Flat(Settings, Distribution):
    r"""Density 1 on :math:`\mathbb{R}^P`, which is improper: :math:`\mathrm{KL}(q \| 1) = E_q \log q = -H(q)`.

    Estimators of a KL thus estimate entropies and their gradients. It cannot be drawn from.

    Args:
        num_weights: the number ``P``.

    Example:
        >>> Flat(3).log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (the name and kind are torch's)
    support = constraints.real_vector

    def __init__(self, num_weights: int) -> None:
        self.num_weights = num_weights
        super().__init__(torch.Size(), torch.Size((num_weights,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return zeros ``(*B,)`` for ``value`` ``(*B, P)``."""
        return value.new_zeros(value.shape[:-1])
