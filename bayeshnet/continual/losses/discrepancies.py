"""What an output regularizer holds small: discrepancies between what a generator emits now and emitted before."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from ...distributions import MeanFieldGaussian
from ...distributions.gaussian import diagonal_kl
from ...errors import check_choice, type_error

__all__ = ["DISCREPANCIES", "Discrepancy", "discrepancy_for"]

Discrepancy = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs now and before, ``(*B, K)`` each, to the mean over ``B`` of their discrepancy ``()``."""


def squared(now: Tensor, before: Tensor) -> Tensor:
    """Squared distance, summed over outputs."""
    return F.mse_loss(now, before, reduction="sum") * (now.shape[-1] / now.numel())


def forward_kl(now: Tensor, before: Tensor) -> Tensor:
    """KL of the Gaussian before from the one now, ``KL(before || now)``, in nats."""
    return _gaussian_kl(before, now)


def reverse_kl(now: Tensor, before: Tensor) -> Tensor:
    """KL of the Gaussian now from the one before, ``KL(now || before)``, in nats."""
    return _gaussian_kl(now, before)


def _gaussian_kl(q: Tensor, p: Tensor) -> Tensor:
    """Mean KL between Gaussians given as means and standard deviations, one behind the other."""
    (loc, scale), (other, width) = q.chunk(2, dim=-1), p.chunk(2, dim=-1)
    return diagonal_kl(loc, scale, other, width) / (loc.numel() // loc.shape[-1])


DISCREPANCIES: dict[str, Discrepancy] = {
    "squared": squared,
    "wasserstein": squared,  # of Gaussians given by means and standard deviations it is the squared distance
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
}
"""By name. All but ``"squared"`` are for Gaussians with independent weights."""


def discrepancy_for(name: str, distribution: Distribution) -> Discrepancy:
    """The discrepancy of a name, if it means something for distributions like this one."""
    check_choice("distance", name, DISCREPANCIES)
    if name != "squared" and not isinstance(distribution, MeanFieldGaussian):
        raise type_error(
            "distance",
            expected="'squared' for posteriors that are no Gaussians with independent weights",
            found=f"{name!r} for {type(distribution).__name__}",
        )
    return DISCREPANCIES[name]
