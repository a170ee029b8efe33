"""Draws of weights as plain states of a module."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ...errors import value_error
from ...weights import WeightSpec

__all__ = ["plain_states"]


@torch.no_grad()
def plain_states(module: nn.Module, spec: WeightSpec, samples: Tensor) -> list[dict[str, Tensor]]:
    """Return the state of a copy of ``module`` under each of the weight vectors ``(S, P)``.

    Parameters are found by name, or else by their order if their shapes are those of the specification. Tied
    parameters are one.
    """
    network = copy.deepcopy(module)
    parameters = dict(network.named_parameters())
    if not set(spec.names) <= set(parameters):
        parameters = dict(zip(spec.names, parameters.values(), strict=False))
    shapes = {name: tuple(p.shape) for name, p in parameters.items() if name in spec.names}
    if shapes != dict(zip(spec.names, spec.shapes, strict=True)):
        expected = f"a module with parameters of shapes {spec.shapes}"
        found = str(tuple(tuple(p.shape) for p in module.parameters()))
        raise value_error("module", expected=expected, found=found)
    states = []
    for weights in samples:
        for name, value in spec.unflatten(weights).items():
            parameters[name].copy_(value)
        states.append({name: t.detach().clone() for name, t in network.state_dict().items()})
    return states
