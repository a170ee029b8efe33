"""Context modulation in main networks: its options, its declaration and its application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor, nn

from ...errors import check_flags, value_error
from ...layers import ContextModLayer
from ..mnet_interface import MainNetInterface

__all__ = ["Modulation", "Modulator", "add_context_mod"]


@dataclass(frozen=True)
class Modulation:
    """Options of context modulation that all main networks share, with their documented defaults."""

    use_context_mod: bool = False
    context_mod_inputs: bool = False
    no_last_layer_context_mod: bool = False
    context_mod_no_weights: bool = False
    context_mod_post_activation: bool = False
    context_mod_gain_offset: bool = False
    context_mod_gain_softplus: bool = False
    context_mod_apply_pixel_wise: bool = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_flags(**asdict(self))
        if self.context_mod_gain_offset and self.context_mod_gain_softplus:
            raise value_error(
                "context_mod_gain_softplus", expected="False when context_mod_gain_offset is chosen", got=True
            )

    @classmethod
    def of(cls, kwargs: Mapping[str, Any], *, pixel_wise: bool = True) -> Modulation:
        """Build the options from a network's ``**kwargs``; refuse unknown ones."""
        known = [f.name for f in fields(cls) if pixel_wise or f.name != "context_mod_apply_pixel_wise"]
        unknown = sorted(set(kwargs) - set(known))
        if unknown:
            raise TypeError(f"kwargs: expected some of {', '.join(known)}, got {', '.join(unknown)}.")
        return cls(**kwargs)

    @property
    def inputs(self) -> bool:
        """True if the inputs of the network are modulated."""
        return self.use_context_mod and self.context_mod_inputs

    @property
    def outputs(self) -> bool:
        """True if the outputs of the network are modulated."""
        return self.use_context_mod and not self.no_last_layer_context_mod

    @property
    def before_activation(self) -> bool:
        """True if hidden layers are modulated before their activation."""
        return self.use_context_mod and not self.context_mod_post_activation

    @property
    def after_activation(self) -> bool:
        """True if hidden layers are modulated after their activation."""
        return self.use_context_mod and self.context_mod_post_activation

    def shapes(self, inputs: Sequence[int], outputs: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return the shapes of the modulation layers of a network.

        Args:
            inputs: shape of the network's inputs.
            outputs: shapes of the outputs of its layers, ``(C, H, W)`` for convolutions.
        """
        wanted = [inputs] * self.context_mod_inputs + list(outputs[: len(outputs) - self.no_last_layer_context_mod])
        per_map = not self.context_mod_apply_pixel_wise
        return [[s[0], 1, 1] if len(s) == 3 and per_map else list(s) for s in wanted]


def add_context_mod(
    net: MainNetInterface,
    options: Modulation,
    shapes: Sequence[Sequence[int]],
    layers: Sequence[int],
    steps: Sequence[Sequence[int]] | None = None,
) -> None:
    """Add one modulation layer per entry of ``shapes``.

    Args:
        net: the network.
        options: options of context modulation; nothing is added unless ``use_context_mod`` is set.
        shapes: shapes of gains and shifts.
        layers: layer numbers.
        steps: for each layer, additional leading dimensions (time steps) of gains and shifts; none by default.
    """
    if not options.use_context_mod:
        return
    net._context_mod_layers = nn.ModuleList()
    internal = not options.context_mod_no_weights
    # With an offset or a softplus, raw gains are centered at zero.
    centered = options.context_mod_gain_offset or options.context_mod_gain_softplus
    for i, (shape, number) in enumerate(zip(shapes, layers, strict=True)):
        layer = ContextModLayer(
            shape,
            no_weights=not internal,
            apply_gain_offset=options.context_mod_gain_offset,
            apply_gain_softplus=options.context_mod_gain_softplus,
        )
        net._context_mod_layers.append(layer)
        leading = [] if steps is None else list(steps[i])
        for key, name in (("gain", "cm_scale"), ("shift", "cm_shift")):
            home = (layer, key) if internal else None
            role = "norm_shift" if name == "cm_shift" or centered else "norm_scale"
            net._declare([*leading, *shape], name, number, internal=internal, home=home, role=role)


@dataclass(frozen=True)
class Modulator:
    """A modulation layer together with the gains and shifts of one forward pass."""

    layer: ContextModLayer
    gain: Tensor
    shift: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """Modulate activations."""
        return h * self.layer.preprocess_gain(self.gain) + self.shift

    def at(self, step: int) -> Modulator:
        """Return the modulator of one time step, for gains and shifts ``(T, n)``."""
        return Modulator(self.layer, self.gain[step], self.shift[step])
