"""Builders of main networks: settings now, the network when the shapes of a task are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from ..errors import check_choice, check_int
from ..layers.activations import GaussianBump
from ..mnets import MLP, MainNetInterface

__all__ = ["ACTIVATIONS", "MLPNetwork", "NetworkBuilder", "make_activation"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "gaussian": GaussianBump,
}
"""Activations by the names that configuration files use."""


def make_activation(name: str) -> nn.Module:
    """Activation module of a name in :data:`ACTIVATIONS`."""
    return ACTIVATIONS[check_choice("activation", name, ACTIVATIONS)]()


class NetworkBuilder(ABC):
    """Builds a main network for inputs of a shape; learners call it with the first task's shapes."""

    @abstractmethod
    def build(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """A new network from inputs ``(N, *input_shape)`` to outputs ``(N, num_outputs)``, without own weights."""


class MLPNetwork(NetworkBuilder):
    """A multi-layer perceptron on flattened inputs.

    Args:
        hidden: sizes of the hidden layers.
        activation: a name in :data:`ACTIVATIONS`.

    Example:
        >>> MLPNetwork((32,), "gaussian").build((64,), 2).weight_spec.numel
        2146
    """

    def __init__(self, hidden: tuple[int, ...] = (100, 100), activation: str = "relu") -> None:
        """Check the sizes and the name."""
        self.hidden = tuple(check_int("hidden", h, 1) for h in hidden)
        self.activation = activation
        make_activation(activation)

    def build(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """Build the network; its weights come from outside."""
        size = int(torch.Size(input_shape).numel())
        return MLP(
            n_in=size,
            n_out=num_outputs,
            hidden_layers=self.hidden,
            activation_fn=make_activation(self.activation),
            no_weights=True,
            verbose=False,
        )
