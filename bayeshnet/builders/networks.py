"""Builders of main networks: settings now, the network when input shape and number of outputs are known."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ..deprecation import renamed_arguments
from ..errors import check_choice, check_size, check_sizes, value_error
from ..layers.activations import GaussianBump
from ..mnets import MLP, MainNetInterface, ModuleMainNet
from ..mnets.parts.images import LAYOUTS, check_layout, to_maps
from ..representation import ModuleSettings, Settings

__all__ = ["ACTIVATIONS", "ConvNetwork", "MLPNetwork", "NetworkBuilder", "ToMaps", "make_activation"]

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
    def build(self, input_shape: Sequence[int], num_outputs: int, *, layout: str | None = None) -> MainNetInterface:
        """Build a network from inputs ``(N, *input_shape)`` to outputs ``(N, num_outputs)``, without own weights.

        Args:
            input_shape: shape of one input.
            num_outputs: number of outputs.
            layout: of images, as the data says it: ``"CHW"``, as in torch, or ``"HWC"``; None if it says nothing. A
                builder without this argument serves data that are not ``"HWC"``.
        """

    def build_for(self, input_shape: Sequence[int], num_outputs: int, layout: str | None = None) -> MainNetInterface:
        """Build a network for data of a layout; refuse the layout ``"HWC"`` if :meth:`build` does not take any.

        Arguments are those of :meth:`build`.
        """
        if layout is None:
            return self.build(input_shape, num_outputs)
        if "layout" in inspect.signature(self.build).parameters:
            return self.build(input_shape, num_outputs, layout=layout)
        if layout != "CHW":
            expected = f"a builder that takes the layout {layout!r} of the data: build(..., layout=None)"
            raise value_error("network", expected=expected, found=type(self).__name__)
        return self.build(input_shape, num_outputs)


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

    def build(self, input_shape: Sequence[int], num_outputs: int, *, layout: str | None = None) -> MainNetInterface:
        """Build the network, without weights of its own, for inputs of any layout."""
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
        layout: ``"CHW"`` or ``"HWC"``, of inputs flattened or not; None for the layout that the data says, or
            ``"CHW"``, as in torch, where it says nothing.

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
        layout: str | None = None,
    ) -> None:
        self.layout = check_layout(layout)
        self.channels = tuple(check_sizes("channels", channels))
        self.hidden_layers = tuple(check_sizes("hidden_layers", hidden_layers))
        self.activation = check_choice("activation", activation, ACTIVATIONS)
        self.image_shape = None if image_shape is None else tuple(check_sizes("image_shape", image_shape, count=3))

    def build(self, input_shape: Sequence[int], num_outputs: int, *, layout: str | None = None) -> MainNetInterface:
        """Build the network; raise ValueError for images that are too small for the pooling."""
        check_size("num_outputs", num_outputs)
        check_layout(layout)
        check_size("input_shape", math.prod(check_sizes("input_shape", input_shape)))
        layout = self._layout_of(input_shape, layout)
        shape = self._shape_of(input_shape, layout)
        planes, height, width = shape
        layers: list[nn.Module] = []
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
        # Flattened inputs take a place among the numbered layers, which names weights in saved states.
        first = int(len(input_shape) != 3)
        named = {str(i): layer for i, layer in enumerate([*layers, nn.Linear(size, num_outputs)], first)}
        return ModuleMainNet(nn.Sequential(OrderedDict({"0" if first else "maps": ToMaps(shape, layout), **named})))

    def _layout_of(self, input_shape: Sequence[int], said: str | None) -> str:
        """Return the layout that the data and the builder agree on."""
        if said is not None and self.layout not in (None, said):
            raise value_error("layout", expected=f"{said!r} as the data says, or None", got=self.layout)
        if said is not None or self.layout is not None:
            return str(said or self.layout)
        shape = tuple(input_shape)
        if len(shape) == 3 and shape[0] == shape[1] > 4 and shape[2] in (1, 3):
            expected = f"'HWC' or 'CHW' for inputs {shape}, which look like (height, width, channels)"
            advice = "Let the data say it, info={'layout': 'HWC'}, or the builder."
            raise value_error("layout", expected=expected, got=None, hint=advice)
        return "CHW"

    def _shape_of(self, input_shape: Sequence[int], layout: str) -> tuple[int, int, int]:
        """Return the shape ``(channels, height, width)`` of an image."""
        shape = tuple(input_shape)
        own = self.image_shape
        if len(shape) == 3:
            shape = shape if layout == "CHW" else (shape[2], *shape[:2])
        elif own is not None and math.prod(own) == math.prod(shape):
            shape = own
        if len(shape) != 3 or own not in (None, shape):
            expected = f"(channels, height, width) of inputs of shape {tuple(input_shape)}"
            raise value_error("input_shape or image_shape", expected=expected, got=own)
        return shape


class ToMaps(ModuleSettings, nn.Module):
    """Images in a layout, flattened or not, as feature maps ``(N, C, H, W)``; other shapes are refused.

    Args:
        image_shape: ``(C, H, W)``.
        layout: ``"CHW"`` or ``"HWC"``.

    Example:
        >>> import torch
        >>> ToMaps((3, 8, 8), "HWC")(torch.zeros(2, 8, 8, 3)).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, image_shape: Sequence[int], layout: str = "CHW") -> None:
        super().__init__()
        self.image_shape = tuple(check_sizes("image_shape", image_shape, count=3))
        self.layout = check_choice("layout", layout, LAYOUTS)

    def forward(self, x: Tensor) -> Tensor:
        """Check the images and move their channels to the front."""
        channels, height, width = self.image_shape
        return to_maps(x, (height, width, channels), self.layout)
