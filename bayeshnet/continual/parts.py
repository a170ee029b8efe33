"""Parts that learners are given: optional ones, and the network, which is built or copied."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from ..builders.networks import NetworkBuilder
from ..errors import check_instance, type_error, value_error
from ..mnets import MainNetInterface, ModuleMainNet
from ..mnets.inputs import settle_layout
from ..mnets.parts.selection import check_module
from ..mnets.running_statistics import settle_batch_norm

__all__ = ["check_optional", "make_network"]


def check_optional(argument: str, value: Any, kind: type, expected: str) -> Any:
    """Return an optional part if it is None or of its kind."""
    return None if value is None else check_instance(argument, value, kind, expected)


def make_network(
    network: NetworkBuilder | nn.Module,
    input_shape: tuple[Any, ...],
    num_outputs: int,
    layout: str | None,
    batch_norm: str,
) -> MainNetInterface:
    """Build a main network, or copy the one that is given, for inputs of a layout and a use of batch norm."""
    if isinstance(network, NetworkBuilder):
        if input_shape and isinstance(input_shape[0], tuple):
            expected = "a torch.nn.Module that takes several inputs"
            raise type_error("network", expected=expected, got=network, hint="Builders are for one tensor of inputs.")
        net: nn.Module = network.build_for(input_shape, num_outputs, layout)
    else:
        if not isinstance(network, MainNetInterface):
            check_module(network)
        if any(tensor.is_meta for tensor in network.parameters()):
            raise value_error("network", expected="one whose parameters have values", found="some on the meta device")
        net = copy.deepcopy(network)
    net = net if isinstance(net, MainNetInterface) else ModuleMainNet(net)
    settle_layout(net, layout)
    settle_batch_norm(net, batch_norm)
    return net
