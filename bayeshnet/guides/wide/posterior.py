"""The posterior of many unknowns: few latents, and noise of each unknown that is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...distributions.posteriors.base import WeightPosterior
from ...distributions.semi_implicit import SemiImplicit
from ...hnets import HMLP
from ...weights import WeightSpec, Whitening

__all__ = ["MANY", "WidePosterior"]

MANY, LATENTS = 30, 16
"""Beyond so many unknowns there is no latent for each of them, but so many in all: up to there a latent for each is
affordable and bends more, as log-scales of hierarchies need."""

_LINEAR, _CURVATURE = 0.03, 0.03
"""Initial standard deviations of what the linear and the hidden part add, in units of the noise."""

_RATE = 0.2
"""Units of all parameters: a learning rate moves the posterior by this part of its own scale."""


class WidePosterior(WeightPosterior):
    r"""A perceptron of few latents with a linear skip connection, and learned noise of each unknown.

    .. math:: u = s \odot (A z + W a(z) + b + \varepsilon), \qquad z \sim N(0, I_n), \; \varepsilon \sim N(0, I_D),

    with learned scales ``s``. Without the perceptron it is a Gaussian of a covariance of low rank plus a diagonal. It
    is cheap where a latent of each unknown would not be: the information between ``z`` and ``u`` is a determinant in
    ``n`` dimensions.

    Args:
        loc: initial mean, ``(D,)``.
        scale: initial ``s``, the standard deviation of the noise of each unknown.
        layers: hidden sizes of the perceptron, at least one.
        activation: hidden activation.
        latent_size: number ``n`` of latents.
    """

    def __init__(
        self,
        loc: Tensor,
        scale: float,
        layers: Sequence[int],
        activation: nn.Module,
        *,
        latent_size: int = LATENTS,
    ) -> None:
        super().__init__()
        size = loc.numel()
        self.weight_spec = WeightSpec.of_shapes([[size]])
        self.hnet = HMLP(
            [[size]],
            uncond_in_size=latent_size,
            cond_in_size=0,
            num_cond_embs=0,
            layers=list(layers),
            verbose=False,
            activation_fn=activation,
            linear_skip=True,
        ).to(loc)
        self.log_scale = nn.Parameter(torch.full_like(loc, math.log(scale) / _RATE))
        parameters = list(self.hnet.params.values())[: 2 * len(layers) + 2]
        with torch.no_grad():
            for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
                weight.normal_(std=1 / math.sqrt(weight.shape[1]))
                bias.uniform_(-1.0, 1.0)
            head, offset = parameters[-2:]
            width = head.shape[1] - latent_size
            head[:, :width].normal_(std=_CURVATURE / _RATE / math.sqrt(width))
            head[:, width:].normal_(std=_LINEAR / _RATE / math.sqrt(latent_size))
            offset.copy_(loc / scale / _RATE)

    def forward(self, cond_id: int | None = None, cond_input: Tensor | None = None) -> SemiImplicit:
        """Return the distribution."""
        scale = _RATE * (_RATE * self.log_scale).exp()
        whitening = Whitening(torch.zeros_like(scale), scale)
        return SemiImplicit(self.hnet.geometry(), 1 / _RATE, whitening, self.weight_spec, validate_args=False)
