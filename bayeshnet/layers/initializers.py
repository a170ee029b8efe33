"""Initialization of weight tensors in place, and their fan-ins and fan-outs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import check_generator
from ..errors import check_floating, check_ints, value_error

__all__ = ["calc_fan_in_and_out", "check_initial", "init_params", "xavier_fan_in_"]


def calc_fan_in_and_out(shapes: Sequence[int]) -> tuple[int, int]:
    """Return fan-in and fan-out of a weight tensor ``(out, in, *kernel)``.

    Example:
        >>> calc_fan_in_and_out([16, 3, 5, 5])
        (75, 400)
    """
    sizes = check_ints("shapes", shapes, 0)
    if len(sizes) < 2:
        raise value_error("shapes", expected="the shape of a tensor with at least two dimensions", got=list(shapes))
    field = math.prod(sizes[2:])
    return sizes[1] * field, sizes[0] * field


def init_params(weights: Tensor, bias: Tensor | None = None, generator: torch.Generator | None = None) -> None:
    r"""Initialize a linear or convolutional layer in place, with PyTorch's default initialization.

    Weights and biases are uniform in :math:`[-1/\sqrt{n}, 1/\sqrt{n}]`, where :math:`n` is the fan-in.
    """
    _check_weights("weights", weights, generator)
    nn.init.kaiming_uniform_(weights, a=math.sqrt(5), generator=generator)
    if bias is not None:
        check_floating("bias", bias)
        bound = 1 / math.sqrt(max(1, calc_fan_in_and_out(weights.shape)[0]))
        nn.init.uniform_(bias, -bound, bound, generator=generator)


def xavier_fan_in_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Fill ``tensor`` from a uniform distribution of variance :math:`1/n`, where :math:`n` is its fan-in; return it.

    References:
        Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    _check_weights("tensor", tensor, generator)
    bound = math.sqrt(3.0 / calc_fan_in_and_out(tensor.shape)[0])
    return nn.init.uniform_(tensor, -bound, bound, generator=generator)


def _check_weights(argument: str, weights: Tensor, generator: torch.Generator | None) -> None:
    """Refuse what is not a floating tensor of at least two dimensions and one entry, and foreign generators."""
    check_generator(generator)
    if check_floating(argument, weights).ndim < 2 or not weights.numel():
        raise value_error(argument, expected="a tensor (out, in, *kernel) that is not empty", got=weights)


def check_initial(argument: str, value: Tensor) -> Tensor:
    """Return a tensor that can be copied into a parameter; refuse complex ones and those without data."""
    if value.is_complex() or value.is_meta:
        raise value_error(argument, expected="real tensors that hold data", got=value)
    return value
