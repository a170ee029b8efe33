"""Sizes of chunks in which predictions take bounded memory and near the least time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...checks import check_data
from ...errors import type_error
from ...guides.likelihoods.contract import network_outputs
from ...mnets.activations import values_per_example
from ...mnets.inputs import Inputs, num_examples
from ...per_example import examples_apart

__all__ = ["check_batch", "draws_at_a_time", "inputs_at_a_time"]

_WEIGHTS = 2**27
"""Entries of the weights of a chunk of draws."""
_VALUES_CPU, _VALUES = 2**22, 2**28
"""Values that a network computes for a chunk of inputs under a chunk of draws, on a CPU and elsewhere.

On a CPU tensors of a few MiB are reused from call to call, and larger ones are asked of the system anew each time.
"""
_MOST = 2**28
_LEAST, _FEW = 128, 16
"""Inputs that are divided only for memory, beyond ``_MOST`` values; inputs that are never divided."""


def check_batch(x: Any) -> None:
    """Refuse what is no batch of inputs, such as the list of inputs and targets that a loader of pairs gives."""
    if isinstance(x, list):
        hint = "Of a loader of pairs give (x for x, _ in loader)."
        raise type_error("batches", expected="inputs, a tensor or a tuple of several", got=x, hint=hint)
    for part in x if isinstance(x, tuple) else (x,):
        check_data("batches", part, "batches of inputs, in dense tensors")


def draws_at_a_time(num_weights: int) -> int:
    """Return the number of weight vectors that have about half a gibibyte in single precision.

    Example:
        >>> draws_at_a_time(2**20), draws_at_a_time(2**30)
        (128, 1)
    """
    return max(1, _WEIGHTS // num_weights)


def inputs_at_a_time(net: nn.Module, weights: Tensor, x: Inputs) -> int:
    """Return the number of inputs for which a network computes about 2^22 values (a CPU) under all of ``weights``.

    It is 2^28 values on other devices, and at least 128 inputs if these need no more than 2^28. It is all inputs if an
    output depends on the other inputs of a batch.

    Args:
        net: the network, in the mode in which it predicts.
        weights: draws ``(S, P)`` of a chunk.
        x: all inputs.

    Example:
        >>> import torch
        >>> inputs_at_a_time(nn.Linear(3, 32), torch.zeros(512, 128), torch.zeros(10**5, 3))
        128
    """
    size = num_examples(x)
    if size <= _FEW or not examples_apart(net):
        return max(1, size)
    values = values_per_example(lambda some: network_outputs(net, weights[:1], some), x)
    budget = _VALUES_CPU if weights.device.type == "cpu" else _VALUES
    values *= len(weights)
    return max(_FEW, min(max(_LEAST, budget // values), _MOST // values))
