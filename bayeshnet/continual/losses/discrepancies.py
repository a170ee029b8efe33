"""Discrepancies between a hypernetwork's outputs for old tasks and their previous values."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution

from ...distributions import MeanFieldGaussian, SemiImplicit
from ...distributions.gaussian import diagonal_kl
from ...errors import check_choice, type_error

__all__ = ["DISCREPANCIES", "Discrepancy", "discrepancy_for"]

Discrepancy = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs and previous outputs, ``(*B, K)`` each, to the mean of their discrepancy over ``B``: ``()``."""


def squared(outputs: Tensor, previous: Tensor) -> Tensor:
    """Compute the squared distance, summed over outputs."""
    return F.mse_loss(outputs, previous, reduction="sum") * (outputs.shape[-1] / outputs.numel())


def forward_kl(outputs: Tensor, previous: Tensor) -> Tensor:
    """Compute the KL ``KL(previous || current)`` of Gaussians, in nats."""
    return _gaussian_kl(previous, outputs)


def reverse_kl(outputs: Tensor, previous: Tensor) -> Tensor:
    """Compute the KL ``KL(current || previous)`` of Gaussians, in nats."""
    return _gaussian_kl(outputs, previous)


def _gaussian_kl(q: Tensor, p: Tensor) -> Tensor:
    """Compute the mean KL between Gaussians given as means followed by standard deviations, ``(*B, 2P)`` each."""
    (loc, scale), (other_loc, other_scale) = q.chunk(2, dim=-1), p.chunk(2, dim=-1)
    return diagonal_kl(loc, scale, other_loc, other_scale) / (loc.numel() // loc.shape[-1])


DISCREPANCIES: dict[str, Discrepancy] = {
    "squared": squared,
    "wasserstein": squared,  # the squared distance of means and standard deviations
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
}
"""Discrepancies by name. All but ``"squared"`` are for weights that are independent Gaussians, given any latent."""


def discrepancy_for(name: str, distribution: Distribution) -> Discrepancy:
    """Return the discrepancy of a name; raise TypeError if it is not defined for a distribution of this kind."""
    check_choice("distance", name, DISCREPANCIES)
    has_sigmas = isinstance(distribution, SemiImplicit) and distribution.sigma.ndim == 1
    if name != "squared" and not (has_sigmas or isinstance(distribution, MeanFieldGaussian)):
        raise type_error(
            "distance",
            expected="'squared' for posteriors that are no Gaussians with independent weights",
            found=f"{name!r} for {type(distribution).__name__}",
            hint="Given the latent, those of a hypernetwork are, with a sigma for each weight (sigma='generated').",
        )
    return DISCREPANCIES[name]
