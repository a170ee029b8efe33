"""The posterior of an automatic guide: a perceptron that begins near a narrow Gaussian around given values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..distributions import HypernetPosterior
from ..hnets import HMLP
from ..weights import WeightSpec
from ..whitening import Whitening

__all__ = ["ProportionalNoise", "make_posterior"]

_CURVATURE = 0.1
"""Initial standard deviation of the contribution of the hidden layers, in units of that of the linear part."""

_FLOOR = 1e-8
"""The smallest standard deviation of the noise."""


def make_posterior(
    loc: Tensor,
    latent_size: int,
    layers: Sequence[int],
    activation: nn.Module,
    init_scale: float,
    sigma: float,
    *,
    root: Tensor | None = None,
    stretch: bool = False,
) -> HypernetPosterior:
    """Make a posterior over vectors of the size of ``loc`` ``(D,)``, in its dtype and on its device.

    Its initial mean is ``loc``. The latents are added by the skip connection, one per unknown (or mixed at random if
    their number differs from ``D``), and the initial contribution of the hidden layers is small.

    Args:
        loc: initial mean.
        latent_size: number ``n`` of latents.
        layers: hidden sizes; none for a linear map.
        activation: hidden activation.
        init_scale: initial standard deviation of the linear part.
        sigma: standard deviation of the noise in units of the linear part's.
        root: lower triangular factor ``(D, D)`` of the initial covariance, instead of ``init_scale``; with another
            number of latents than unknowns the standard deviations alone are used. Unknowns are then generated in units
            of these, so that a learning rate means the same for narrow and for wide posteriors.
        stretch: True to let earlier latents stretch later ones; initially they do not.
    """
    size = loc.numel()
    hnet = HMLP(
        [[size]],
        uncond_in_size=latent_size,
        cond_in_size=0,
        num_cond_embs=0,
        layers=list(layers),
        verbose=False,
        activation_fn=activation,
        linear_skip=bool(layers),
        stretch=stretch,
    ).to(loc)
    parameters = list(hnet.params.values())[: 2 * len(layers) + 2]
    with torch.no_grad():
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            weight.normal_(std=1 / math.sqrt(weight.shape[1]))
            bias.uniform_(-1.0, 1.0)
        head, offset = parameters[-2:]
        width = head.shape[1] - latent_size
        if root is None:
            whitening, scale, center = None, init_scale, loc
            linear = _linear_part(loc, latent_size)
        else:
            deviation = root.norm(dim=1)
            whitening, scale, center = Whitening(loc, deviation), 1.0, torch.zeros_like(loc)
            linear = root / deviation[:, None] if latent_size == size else _linear_part(loc, latent_size)
        head[:, :width].normal_(std=_CURVATURE * scale / math.sqrt(max(width, 1)))
        head[:, width:].copy_(scale * linear)
        offset.copy_(center)
    noise = ProportionalNoise(head, latent_size, torch.full_like(loc, sigma))
    spec = WeightSpec.of_shapes([[size]])
    return HypernetPosterior(hnet, sigma=noise, weight_spec=spec, scale=whitening, sigma_floor=_FLOOR)


class ProportionalNoise(nn.Module):
    r"""Noise that follows the scale of the map: :math:`\sigma_i = f_i \, \| A_i \|`, with ``A`` its linear part.

    It adapts to the scale of each unknown without being learned: learned noise grows until the linearization by which
    the entropy is estimated is no longer accurate. It has no gradient.

    Args:
        head: weights of the output layer, the last ``n`` columns of which are ``A``.
        latent_size: number ``n`` of latents.
        fraction: the factors ``f`` ``(D,)``.
    """

    def __init__(self, head: Tensor, latent_size: int, fraction: Tensor) -> None:
        super().__init__()
        self.fraction: Tensor
        self.register_buffer("fraction", fraction)
        self._linear = (head, latent_size)

    def forward(self, condition: object = None) -> Tensor:
        """Return the standard deviations ``(D,)``."""
        head, size = self._linear
        found: Tensor = self.fraction * head.detach()[:, -size:].norm(dim=1)
        return found


def _linear_part(loc: Tensor, latent_size: int) -> Tensor:
    """Return a matrix ``(D, n)`` whose rows have norm one: the identity if it is square, random otherwise."""
    size = loc.numel()
    if latent_size == size:
        return torch.eye(size).to(loc)
    matrix = torch.randn(size, latent_size).to(loc)
    found: Tensor = matrix / matrix.norm(dim=1, keepdim=True)
    return found
