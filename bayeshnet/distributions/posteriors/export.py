"""Weights as plain states of a module, and the weights that a module has."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ...errors import check_finite, check_floating, check_instance, check_shape, value_error
from ...mnets import MainNetInterface, ModuleMainNet
from ...weights import WeightSpec

__all__ = ["known_weights", "plain_states", "weights_of"]


@torch.no_grad()
def plain_states(module: nn.Module, spec: WeightSpec, samples: Tensor) -> list[dict[str, Tensor]]:
    """Return the state of a copy of ``module`` under each of the weight vectors ``(S, P)``.

    Parameters are found by name, or else by their order if their shapes are those of the specification. Tied
    parameters are one. Of a :class:`~bayeshnet.mnets.ModuleMainNet` they are the states of the module that it was made
    of, with the buffers and the other parameters that it has now.
    """
    if isinstance(module, ModuleMainNet):
        found = [module.to_module(weights).state_dict() for weights in samples]
        return [{name: t.detach().clone() for name, t in state.items()} for state in found]
    network = copy.deepcopy(module)
    parameters = _parameters_of(network, spec)
    states = []
    for weights in samples:
        for name, value in spec.unflatten(weights).items():
            parameters[name].copy_(value)
        states.append({name: t.detach().clone() for name, t in network.state_dict().items()})
    return states


@torch.no_grad()
def weights_of(init: nn.Module | Tensor, spec: WeightSpec) -> Tensor:
    """Return the weights ``(P,)`` that a module has, or those given as a tensor.

    Args:
        init: a torch module with the parameters of the specification, by name or else by order and shape; a main
            network with weights of its own; or a tensor.
        spec: names and shapes of the weights.
    """
    if not isinstance(init, nn.Module):
        value: Tensor = check_instance("init", init, Tensor, "a tensor (P,), or a module with the weights to start at")
        return value
    if isinstance(init, ModuleMainNet) and init.weight_spec.shapes == spec.shapes:
        return init.module_weights()
    if isinstance(init, MainNetInterface):
        found = list(init.internal_params or [])
        if tuple(tuple(p.shape) for p in found) != spec.shapes:
            raise value_error("init", expected=f"a network with own weights of shapes {spec.shapes}", got=init)
        return spec.flatten([p.detach() for p in found])
    parameters = _parameters_of(init, spec, "init")
    return spec.flatten([parameters[name].detach() for name in spec.names])


def known_weights(weights: Tensor, spec: WeightSpec) -> Tensor:
    """Return weights ``(P,)`` at which a posterior begins, if their shape is right and their values are known."""
    check_shape("init", weights, (spec.numel,), "Weights are flat vectors; see WeightSpec.flatten.")
    if check_floating("init", weights).is_meta:
        raise value_error("init", expected="weights of known values", got=weights)
    return check_finite("init", weights)


def _parameters_of(module: nn.Module, spec: WeightSpec, argument: str = "module") -> dict[str, nn.Parameter]:
    """Return the parameters of a module by the names of the specification."""
    parameters = dict(module.named_parameters())
    if not set(spec.names) <= set(parameters):
        parameters = dict(zip(spec.names, parameters.values(), strict=False))
    shapes = {name: tuple(p.shape) for name, p in parameters.items() if name in spec.names}
    if shapes != dict(zip(spec.names, spec.shapes, strict=True)):
        found = str(tuple(tuple(p.shape) for p in module.parameters()))
        raise value_error(argument, expected=f"a module with parameters of shapes {spec.shapes}", found=found)
    return parameters
