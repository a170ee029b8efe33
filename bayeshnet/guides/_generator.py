"""The generator of an automatic guide: a perceptron that begins near a small Gaussian around given values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..distributions import HypernetPosterior
from ..distributions.sigma import LearnedSigma
from ..hnets import HMLP
from ..weights import WeightSpec

__all__ = ["make_generator"]

_CURVATURE = 0.1
"""Standard deviation of what the hidden layers add at the beginning, in units of the linear part's."""


def make_generator(
    loc: Tensor, latent_size: int, layers: Sequence[int], activation: nn.Module, scales: tuple[float, float]
) -> HypernetPosterior:
    """A posterior over vectors of the size of ``loc`` ``(D,)``, in its dtype and on its device.

    It begins with mean ``loc``; latents enter by the skip connection, one to one (or mixed,
    where their number is another one), and the hidden layers add little.

    Args:
        loc: initial mean.
        latent_size: the number ``n``.
        layers: hidden sizes; none for a linear map.
        activation: hidden activation.
        scales: initial standard deviations, of the linear part and of the noise, which is learned per unknown.
    """
    size, (scale, sigma) = loc.numel(), scales
    hnet = HMLP(
        [[size]], uncond_in_size=latent_size, cond_in_size=0, num_cond_embs=0, layers=list(layers), verbose=False,
        activation_fn=activation, linear_skip=bool(layers),
    ).to(loc)  # fmt: skip
    parameters = hnet.unconditional_params or []
    with torch.no_grad():
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            weight.normal_(std=1 / math.sqrt(weight.shape[1]))
            bias.uniform_(-1.0, 1.0)
        head, offset = parameters[-2:]
        width = head.shape[1] - latent_size
        head[:, :width].normal_(std=_CURVATURE * scale / math.sqrt(max(width, 1)))
        head[:, width:].copy_(scale * _linear_part(loc, latent_size))
        offset.copy_(loc)
    spec = WeightSpec.of_shapes([[size]])
    noise = LearnedSigma(spec, sigma, size="weight", floor=min(1e-4, 0.1 * sigma))
    return HypernetPosterior(hnet, sigma=noise.to(loc), weight_spec=spec)


def _linear_part(loc: Tensor, latent_size: int) -> Tensor:
    """A matrix ``(D, n)`` whose rows have norm one: the identity if it is square, random otherwise."""
    size = loc.numel()
    if latent_size == size:
        return torch.eye(size).to(loc)
    matrix = torch.randn(size, latent_size).to(loc)
    return matrix / matrix.norm(dim=1, keepdim=True)
