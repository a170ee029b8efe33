"""Means over draws with a regression on functions whose means are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .quasi_random import Mean

__all__ = ["Known"]

_LEAST = 1e-6


@dataclass(frozen=True)
class Known:
    r"""Functions of a standard normal latent ``(S, n)`` with their means, on which values are regressed.

    Latents and their squares are added. What is explained by them costs no standard error of its own. With coefficients
    :math:`\beta_k` the intercept is off by :math:`\beta_k` times the error of the :math:`k`-th mean, which is counted.
    The bias of the regression is of the order of one over the number of draws.

    Attributes:
        functions: each a function ``(S, n)`` to ``(S,)``, its mean, and how many times this mean is subtracted from the
            result elsewhere, without its error: only what the coefficient is away from that number then counts.
    """

    functions: tuple[tuple[Callable[[Tensor], Tensor], Mean, float], ...]

    def mean(self, values: Sequence[Tensor], latents: Sequence[Tensor]) -> Mean:
        r"""Return the mean of values, given with their latents block by block, with its standard error.

        The error is that of an intercept whose residuals may have any spread, :math:`\sum_i (a_i r_i / (1 - h_i))^2`
        with weights :math:`a_i` and leverages :math:`h_i` of the draws (HC3: MacKinnon, White, 1985). Without four
        times as many draws as there are functions, it is the mean of the values alone.
        """
        y, z = torch.cat(list(values)).cpu(), torch.cat(list(latents))
        columns = [z, z.square() - 1, *((part(z) - mean.value).unsqueeze(-1) for part, mean, _ in self.functions)]
        design = torch.cat([z.new_ones(len(z), 1), *columns], 1).cpu()
        num, size = design.shape
        if num < 4 * size:
            found, slopes = Mean.of(y), [0.0] * len(self.functions)
        else:
            sizes = design.square().mean(0).sqrt().clamp_min(torch.finfo(design.dtype).tiny)
            inverse = torch.linalg.pinv(design / sizes) / sizes.unsqueeze(1)
            solution = inverse @ y
            rest, leverage = y - design @ solution, (design * inverse.T).sum(1)
            error = (inverse[0] * rest / (1 - leverage).clamp_min(_LEAST)).norm()
            found = Mean(float(solution[0]), float(error), float(num - size))
            slopes = solution[size - len(self.functions) :].tolist()
        for (_, mean, subtracted), slope in zip(self.functions, slopes, strict=True):
            found = found + Mean(0.0, abs(slope - subtracted) * mean.error, mean.dof)
        return found
