"""Means over standard normal latents by randomized quasi-Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from ...rng import normal_like

__all__ = ["Mean", "normal_mean", "normal_points"]

REPLICATES = 16
"""Independent randomizations, from whose scatter the standard error is computed."""

_MAX_DIM = 1024


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error.

    Attributes:
        value: the estimate.
        error: its standard error.
        dof: degrees of freedom of the standard error.
    """

    value: float
    error: float
    dof: float = math.inf

    @classmethod
    def of(cls, values: Tensor) -> Mean:
        """Compute the mean of independent ``values`` ``(S,)``, at least two."""
        num = values.numel()
        return cls(float(values.mean()), float(values.std()) / math.sqrt(num), num - 1.0)

    def __add__(self, other: Mean) -> Mean:
        """Add an independent mean; the degrees of freedom follow Welch and Satterthwaite."""
        a, b = self.error**2, other.error**2
        parts = a**2 / self.dof + b**2 / other.dof
        return Mean(self.value + other.value, math.sqrt(a + b), (a + b) ** 2 / parts if parts > 0 else math.inf)

    def __neg__(self) -> Mean:
        """Return the mean of the opposite values."""
        return Mean(-self.value, self.error, self.dof)

    def plus(self, constant: float) -> Mean:
        """Add a number that is known."""
        return Mean(self.value + constant, self.error, self.dof)

    def half_width(self, level: float) -> float:
        """Return half the width of the two-sided interval of Student's t at confidence ``level``."""
        return self.error * float(stats.t.ppf(0.5 + 0.5 * level, max(1.0, self.dof)))


def normal_points(like: Tensor, num: int, generator: torch.Generator | None = None) -> Tensor:
    """Return ``num`` latents ``(num, n)`` that fill the standard normal distribution of ``like`` ``(n,)`` evenly.

    They are the points of a scrambled Sobol' sequence, mapped by the inverse of the normal distribution; each is
    standard normal. Above 1024 dimensions they are independent draws.

    References:
        Owen, "Scrambled net variance for integrals of smooth functions", 1997.
    """
    if like.shape[0] > _MAX_DIM:
        return normal_like(like, (num, like.shape[0]), generator)
    device = "cpu" if generator is None else generator.device
    seed = int(torch.randint(2**31, (), generator=generator, device=device))
    if not like.shape[0]:
        return like.new_zeros(num, 0)
    engine = torch.quasirandom.SobolEngine(like.shape[0], scramble=True, seed=seed)
    tiny = torch.finfo(torch.float64).eps
    found: Tensor = torch.special.ndtri(engine.draw(num, dtype=torch.float64).clamp(tiny, 1 - tiny)).to(like)
    return found


def normal_mean(
    function: Callable[[Tensor], Tensor],
    like: Tensor,
    target: float,
    *,
    most: int = 2**20,
    block: int = 2**14,
    generator: torch.Generator | None = None,
) -> Mean:
    r"""Estimate :math:`E f(z)` for standard normal ``z``.

    The points of independent scramblings are doubled until the standard error is at most ``target``, or ``most`` are
    reached. A quadratic function, fitted to other points and integrated exactly, is subtracted from ``f``: its part
    costs no error at all.

    Args:
        function: maps latents ``(N, n)`` to values ``(N,)``.
        like: a latent ``(n,)``.
        target: standard error to reach.
        most: largest number of points.
        block: number of points that are evaluated at once.
        generator: of the scramblings.

    Example:
        >>> mean = normal_mean(lambda z: z.square().sum(-1), torch.zeros(3, dtype=torch.float64), 1e-6)
        >>> round(mean.value, 6)
        3.0
    """
    quadratic = _Quadratic.fit(function, like, block, generator)
    per_replicate = 64
    while True:
        means = []
        for _ in range(REPLICATES):
            rest = torch.cat(
                [function(z) - quadratic(z) for z in normal_points(like, per_replicate, generator).split(block)]
            )
            means.append(rest.double().mean())
        mean = Mean.of(torch.stack(means))
        if mean.error <= target or 2 * per_replicate * REPLICATES > most:
            return Mean(mean.value + quadratic.mean, mean.error, mean.dof)
        per_replicate *= 4 if mean.error > 8 * target else 2


@dataclass(frozen=True)
class _Quadratic:
    r"""A function :math:`c + b^\top z + \tfrac12 z^\top Q z`, with its mean over standard normal latents."""

    constant: float
    linear: Tensor
    matrix: Tensor

    @property
    def mean(self) -> float:
        return self.constant + 0.5 * float(self.matrix.diagonal().sum())

    def __call__(self, z: Tensor) -> Tensor:
        return self.constant + z @ self.linear + 0.5 * ((z @ self.matrix) * z).sum(-1)

    @classmethod
    def fit(
        cls, function: Callable[[Tensor], Tensor], like: Tensor, block: int, generator: torch.Generator | None
    ) -> _Quadratic:
        """Fit to fresh points by least squares; only the diagonal of ``Q`` where there are many latents."""
        n = like.shape[0]
        rows, columns = torch.triu_indices(n, n) if n <= 32 else torch.arange(n).expand(2, n)
        num = 8 * (1 + n + rows.numel())
        z = normal_points(like, 2 ** math.ceil(math.log2(num)), generator)
        values = torch.cat([function(part).detach() for part in z.split(block)])
        products = z[:, rows] * z[:, columns]
        design = torch.cat([z.new_ones(len(z), 1), z, products], dim=1).double()
        found = torch.linalg.lstsq(design.cpu(), values.double().cpu().unsqueeze(-1), driver="gelsd").solution[:, 0]
        matrix = torch.zeros(n, n, dtype=torch.float64)
        matrix[rows, columns] = found[1 + n :]
        matrix = (matrix + matrix.mT).to(like)
        return cls(float(found[0]), found[1 : 1 + n].to(like), matrix)
