"""Sizes of chunks in which predictions take bounded memory and near the least time."""

from __future__ import annotations

from torch import Tensor, nn

from ...guides.likelihoods.contract import network_outputs
from ...mnets.activations import values_per_example
from ...mnets.inputs import Inputs, num_examples
from ...per_example import examples_apart

__all__ = ["draws_at_a_time", "inputs_at_a_time"]

_WEIGHTS = 2**27
"""Entries of the weights of a chunk of draws."""
_VALUES_CPU, _VALUES = 2**24, 2**28
"""Values that a network computes for a chunk of inputs under a chunk of draws, on a CPU and elsewhere."""
_FEW = 16
"""Inputs that are never divided."""


def draws_at_a_time(num_weights: int) -> int:
    """Return the number of weight vectors that have about half a gibibyte in single precision.

    Example:
        >>> draws_at_a_time(2**20), draws_at_a_time(2**30)
        (128, 1)
    """
    return max(1, _WEIGHTS // num_weights)


def inputs_at_a_time(net: nn.Module, weights: Tensor, x: Inputs) -> int:
    """Return the number of inputs for which a network computes about 2^24 values (a CPU) under all of ``weights``.

    It is 2^28 on other devices, and all inputs if an output depends on the other inputs of a batch.

    Args:
        net: the network, in the mode in which it predicts.
        weights: draws ``(S, P)`` of a chunk.
        x: all inputs.

    Example:
        >>> import torch
        >>> inputs_at_a_time(nn.Linear(3, 32), torch.zeros(512, 128), torch.zeros(10**5, 3))
        512
    """
    size = num_examples(x)
    if size <= _FEW or not examples_apart(net):
        return max(1, size)
    values = values_per_example(lambda some: network_outputs(net, weights[:1], some), x)
    budget = _VALUES_CPU if weights.device.type == "cpu" else _VALUES
    return max(_FEW, budget // (values * len(weights)))
