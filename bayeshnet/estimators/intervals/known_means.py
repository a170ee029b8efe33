"""Means over draws with a regression on functions whose means are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .quasi_random import Mean

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """Functions of a standard normal latent ``(S, n)`` with their means, on which values are regressed.

    Latents and their squares are added. What is explained by them costs no standard error; the bias of the regression
    is of the order of one over the number of draws.

    Attributes:
        functions: pairs of a function ``(S, n)`` to ``(S,)``, and its mean.
    """

    functions: tuple[tuple[Callable[[Tensor], Tensor], float], ...]

    def mean(self, values: Sequence[Tensor], latents: Sequence[Tensor]) -> Mean:
        """Return the mean of values, given with their latents block by block, with the standard error of the rest.

        Without four times as many draws as there are functions, it is the mean of the values alone.
        """
        y, z = torch.cat(list(values)), torch.cat(list(latents))
        columns = [z, z.square() - 1, *((part(z) - mean).unsqueeze(-1) for part, mean in self.functions)]
        design = torch.cat([torch.ones_like(z[:, :1]), *columns], 1)
        num, size = design.shape
        if num < 4 * size:
            return Mean.of(y)
        solution = torch.linalg.lstsq(design.cpu(), y.cpu().unsqueeze(-1), driver="gelsd").solution
        rest = y.cpu() - (design.cpu() @ solution).squeeze(-1)
        spread = float(rest.square().sum()) / (num - size)
        return Mean(float(solution[0]), math.sqrt(spread / num), float(num - size))
