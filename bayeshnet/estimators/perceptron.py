"""Small perceptrons whose initial weights come from a generator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import normal_like

__all__ = ["apply_frozen", "make_mlp"]


def make_mlp(
    sizes: Sequence[int], like: Tensor, generator: torch.Generator | None = None, last_gain: float = 1.0
) -> nn.Sequential:
    """Make a perceptron with tanh units, in the dtype and on the device of ``like``.

    Args:
        sizes: of its layers, from the input to the output.
        like: a tensor of the wanted dtype and device.
        generator: of the initial weights.
        last_gain: factor on the initial weights of the output layer.
    """
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.utils.skip_init(nn.Linear, fan_in, fan_out, dtype=like.dtype, device=like.device)
        gain = last_gain if i == last else 1.0
        with torch.no_grad():
            layer.weight.copy_(normal_like(like, (fan_out, fan_in), generator) * (gain / math.sqrt(fan_in)))
            layer.bias.zero_()
        layers += [layer] if i == last else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


def apply_frozen(net: nn.Sequential, x: Tensor) -> Tensor:
    """Apply a perceptron of :func:`make_mlp` with constant parameters: only ``x`` gets a gradient."""
    for layer in net:
        if isinstance(layer, nn.Linear):
            x = F.linear(x, layer.weight.detach(), layer.bias.detach())
        else:
            x = layer(x)
    return x
