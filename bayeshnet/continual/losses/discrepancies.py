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
    """Return the discrepancy of a name; raise TypeError if it is not defined for a distribution of this kind.

    Under one fixed sigma for all weights both divergences are half the squared distance, in units of sigma.
    """
    check_choice("distance", name, DISCREPANCIES)
    if name == "squared" or isinstance(distribution, MeanFieldGaussian):
        return DISCREPANCIES[name]
    sigma = distribution.sigma if isinstance(distribution, SemiImplicit) else None
    if sigma is None or (sigma.ndim == 0 and sigma.requires_grad):
        raise type_error(
            "distance",
            expected="'squared' for posteriors that are no Gaussians with independent weights",
            found=f"{name!r} for {type(distribution).__name__}",
            hint="Given the latent, those of a hypernetwork are, with a sigma that is fixed or is one for each weight.",
        )
    if sigma.ndim == 0 and name in ("forward_kl", "reverse_kl"):
        factor = 0.5 * sigma**-2
        return lambda outputs, previous: factor * squared(outputs, previous)
    return DISCREPANCIES[name]
