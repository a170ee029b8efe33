"""Cases of intervals of the KL whose truths are closed forms or integrals: folds, cosines, single precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from intervals_truth import Network
from torch import Tensor

from bayeshnet.distributions import SemiImplicit
from bayeshnet.geometry import JacobianGeometry
from bayeshnet.hnets import HMLP

__all__ = ["LATENTS", "Single", "cosines", "separate", "single_precision"]

LATENTS = 4
"""Number of latents of the maps in single precision."""
SIGMA = 2.0**-7
"""Their noise, which single precision holds exactly."""


@dataclass(frozen=True)
class Single:
    """A linear map in single precision, and what ``diagnose`` says of it.

    Attributes:
        kind: "module" or "function".
        num_weights: number of weights.
        largest: singular value of the Jacobian over sigma.
        condition: the largest singular value over the smallest.
        truth: closed form of the KL.
        value: the KL, or None where it is refused.
        verdict: of the diagnosis.
        information: mutual information as it was found, or None.
    """

    kind: str
    num_weights: int
    largest: float
    condition: float
    truth: float
    value: float | None
    verdict: str
    information: float | None


def separate(function: Callable[[Tensor], Tensor], sigma: float) -> float:
    """Integrate the KL to N(0, 1) of one weight, the function of one latent."""
    z = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    mass = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) + math.log(18 / 3000)
    w = torch.linspace(-10, 10, 6001, dtype=torch.float64)
    parts = [torch.logsumexp(mass - 0.5 * ((x[:, None] - function(z)) / sigma) ** 2, -1) for x in w.split(1000)]
    log_q = torch.cat(parts) - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    log_p = -0.5 * w**2 - 0.5 * math.log(2 * math.pi)
    return float((log_q.exp() * (log_q - log_p)).sum()) / 300


def cosines(seed: int, units: int = 12, num_weights: int = 20) -> Network:
    """Draw a network of one layer of cosines of two latents, whose density is an integral on a grid."""
    gen = torch.Generator().manual_seed(10_000 + seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=gen).double()

    layer = (1.5 * normal(units, 2), 2 * normal(units))
    head = (0.5 * normal(num_weights, units) / math.sqrt(units), 0.3 * normal(num_weights))
    return Network("cos", [layer], head, float(torch.tensor(0.1)))


def single_precision(num_weights: int, largest: float, condition: float, kind: str) -> tuple[SemiImplicit, float]:
    """Return a linear map in single precision that the library cannot know to be linear, and its KL to N(0, I).

    Args:
        num_weights: number of weights.
        largest: singular value of the Jacobian over sigma.
        condition: the largest singular value over the smallest.
        kind: "module", of which there is a copy in double precision, or "function", of which there is none.
    """
    gen = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(num_weights, LATENTS, generator=gen, dtype=torch.float64))[0]
    values = largest * torch.logspace(0, -math.log10(condition), LATENTS, dtype=torch.float64)
    matrix = (left * (SIGMA * values)).float()
    information = 0.5 * torch.linalg.svdvals(matrix.double() / SIGMA).square().log1p().sum()
    squares = matrix.double().square().sum() + num_weights * (SIGMA**2 - 1 - 2 * math.log(SIGMA))
    geometry = JacobianGeometry(_times(matrix), LATENTS, num_weights, like=matrix)
    if kind == "module":
        hnet = HMLP([[num_weights]], LATENTS, 0, [LATENTS], verbose=False, activation_fn=_same)
        with torch.no_grad():
            for parameter, tensor in zip(hnet.unconditional_params, (torch.eye(LATENTS), 0, matrix, 0), strict=True):
                parameter.copy_(torch.as_tensor(tensor))
        return SemiImplicit(hnet.geometry(), SIGMA), float(0.5 * squares - information)
    return SemiImplicit(geometry, SIGMA), float(0.5 * squares - information)


def _same(x: Tensor) -> Tensor:
    return 1.0 * x


def _times(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda z: z @ matrix.T
