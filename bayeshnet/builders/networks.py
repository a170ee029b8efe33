"""Builders of main networks: settings now, the network when input shape and number of outputs are known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from ..deprecation import renamed_arguments
from ..errors import check_choice, check_size, check_sizes, value_error
from ..layers.activations import GaussianBump
from ..mnets import MLP, MainNetInterface, ModuleMainNet
from ..representation import Settings

__all__ = ["ACTIVATIONS", "ConvNetwork", "MLPNetwork", "NetworkBuilder", "make_activation"]

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
"""Activations by name, as in configuration files."""


def make_activation(name: str) -> nn.Module:
    """Return a new activation module by its name in :data:`ACTIVATIONS`."""
    return ACTIVATIONS[check_choice("activation", name, ACTIVATIONS)]()


class NetworkBuilder(Settings, ABC):
    """A builder of main networks; learners call it with the shapes of the first task."""

    @abstractmethod
    def build(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """Build a network from inputs ``(N, *input_shape)`` to outputs ``(N, num_outputs)``, without own weights."""


class MLPNetwork(NetworkBuilder):
    """A multi-layer perceptron; inputs of several dimensions are flattened.

    Args:
        hidden_layers: sizes of the hidden layers.
        activation: a name in :data:`ACTIVATIONS`.

    Example:
        >>> MLPNetwork((32,), "gaussian").build((64,), 2).weight_spec.numel
        2146
    """

    @renamed_arguments(listed=True, hidden="hidden_layers")
    def __init__(self, hidden_layers: tuple[int, ...] = (100, 100), activation: str = "relu") -> None:
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)

    def build(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """Build the network, without weights of its own."""
        size = check_size("input_shape", math.prod(check_sizes("input_shape", input_shape)))
        return MLP(
            n_in=size,
            n_out=check_size("num_outputs", num_outputs),
            hidden_layers=self.hidden_layers,
            activation_fn=make_activation(self.activation),
            no_weights=True,
            verbose=False,
            flatten_inputs=len(input_shape) != 1,
        )


class ConvNetwork(NetworkBuilder):
    """3 x 3 convolutions, each followed by pooling by two, then a multi-layer perceptron.

    Args:
        channels: number of channels of each convolution.
        hidden_layers: sizes of the hidden layers of the perceptron.
        activation: a name in :data:`ACTIVATIONS`.
        image_shape: ``(channels, height, width)`` of flattened inputs; not needed for inputs of three dimensions.

    Example:
        >>> ConvNetwork((4,), (8,)).build((3, 8, 8), 2).weight_spec.shapes
        ((4, 3, 3, 3), (4,), (8, 64), (8,), (2, 8), (2,))
    """

    @renamed_arguments(listed=True, hidden="hidden_layers")
    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64),
        hidden_layers: tuple[int, ...] = (128,),
        activation: str = "relu",
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.channels = tuple(check_sizes("channels", channels))
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.image_shape = None if image_shape is None else tuple(check_sizes("image_shape", image_shape, count=3))

    def build(self, input_shape: Sequence[int], num_outputs: int) -> MainNetInterface:
        """Build the network; raise ValueError for images that are too small for the pooling."""
        check_size("num_outputs", num_outputs)
        check_size("input_shape", math.prod(check_sizes("input_shape", input_shape)))
        shape = self.image_shape or tuple(input_shape)
        if len(shape) != 3 or math.prod(shape) != math.prod(input_shape):
            expected = f"(channels, height, width) of inputs of shape {tuple(input_shape)}"
            raise value_error("input_shape or image_shape", expected=expected, got=shape)
        planes, height, width = shape
        layers: list[nn.Module] = [] if len(input_shape) == 3 else [nn.Unflatten(1, shape)]
        for channels in self.channels:
            layers += [nn.Conv2d(planes, channels, 3, padding=1), make_activation(self.activation), nn.MaxPool2d(2)]
            planes, height, width = channels, height // 2, width // 2
        if min(height, width) < 1:
            expected = f"images that survive the pooling of {len(self.channels)} convolutions"
            raise value_error("input_shape", expected=expected, got=shape, hint="Give fewer channels.")
        layers.append(nn.Flatten())
        size = planes * height * width
        for width in self.hidden_layers:
            layers += [nn.Linear(size, width), make_activation(self.activation)]
            size = width
        return ModuleMainNet(nn.Sequential(*layers, nn.Linear(size, num_outputs)))
