"""One layer of a recurrent network: its declaration, and its forward pass over a whole sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layers import init_params
from ..mnet_interface import MainNetInterface

__all__ = ["RecurrentLayer", "RecurrentSizes"]

Layer = tuple[Tensor, Tensor | None]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RecurrentSizes:
    """Sizes and options of the recurrent layers of a network.

    Attributes:
        lstm: True for LSTM layers, False for Elman's.
        bias: True if layers have biases.
        no_weights: True if all tensors are passed in.
        fan_in_init: True for an initialization by fan-ins, False for one by the size of the layer.
    """

    lstm: bool
    bias: bool
    no_weights: bool
    fan_in_init: bool

    def declare(self, net: MainNetInterface, n_in: int, size: int, number: int) -> None:
        """Declare layer ``number``, from ``n_in`` inputs to ``size`` units, and initialize it."""
        rows = 4 * size if self.lstm else size
        maps = [("ih", rows, n_in), ("hh", rows, size)] + [("ho", size, size)] * (not self.lstm)
        for kind, *shape in maps:
            self._declare_map(net, kind, shape, number, None if self.fan_in_init else 1 / math.sqrt(size))

    def _declare_map(
        self, net: MainNetInterface, kind: str, shape: list[int], number: int, bound: float | None
    ) -> None:
        """Declare one linear map, initialized uniformly within ``bound`` (by its fan-in if None)."""
        internal, found = not self.no_weights, []
        for name, size in [("weight", shape), ("bias", shape[:1])][: 1 + self.bias]:
            label = f"layer{number}.{name}_{kind}"
            found.append(net._declare(size, name, number, internal=internal, label=label, group=kind))
        if found[0] is None:
            return
        if bound is None:
            init_params(found[0], found[1] if self.bias else None)
        else:
            for parameter in found:
                nn.init.uniform_(parameter, -bound, bound)  # type: ignore[arg-type]


@dataclass(frozen=True)
class RecurrentLayer:
    """A recurrent layer with its weights in one forward pass.

    Attributes:
        layers: weight and bias of each of its linear maps: from inputs, from states and (Elman's layer alone) to
            outputs.
        activation: the nonlinearity.
        modulate: for each time step the modulation of its activations, or None.
        post: True if modulation follows the nonlinearity.
        depth: number of last steps through which gradients flow, -1 for all.
    """

    layers: Sequence[Layer]
    activation: Step | None
    modulate: Sequence[Step | None]
    post: bool
    depth: int

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute outputs and inner states ``(T, N, n)`` for inputs ``(T, N, m)``.

        For an LSTM these are its hidden states and its cells.
        """
        steps = x.shape[0]
        (w_in, b_in), (w_rec, b_rec) = self.layers[:2]
        inputs = F.linear(x, w_in, None if b_in is None or b_rec is None else b_in + b_rec)
        elman = len(self.layers) == 3
        hidden = cell = x.new_zeros(x.shape[1], w_rec.shape[1])
        outputs, states = [], []
        for t in range(steps):
            gates = inputs[t] + F.linear(hidden, w_rec)
            if elman:
                hidden = self.activate(gates, t)
                output = state = hidden
            else:
                hidden, cell = self.lstm(gates, cell, t)
                output, state = hidden, cell
            if self.depth != -1 and t < steps - self.depth:
                hidden, cell, output, state = hidden.detach(), cell.detach(), output.detach(), state.detach()
            outputs.append(output)
            states.append(state)
        return self.elman_outputs(torch.stack(outputs)) if elman else torch.stack(outputs), torch.stack(states)

    def activate(self, h: Tensor, t: int) -> Tensor:
        """Apply the nonlinearity, with modulation before or after it."""
        step = self.modulate[t]
        h = h if step is None or self.post else step(h)
        h = h if self.activation is None else self.activation(h)
        return step(h) if step is not None and self.post else h

    def lstm(self, gates: Tensor, cell: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Compute hidden state and cell; the cell passed to the next step is not modulated, as it is unbounded."""
        into, forget, new, out = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        step = self.modulate[t]
        read = cell if step is None or self.post else step(cell)
        hidden = torch.sigmoid(out) * (read if self.activation is None else self.activation(read))
        return step(hidden) if step is not None and self.post else hidden, cell

    def elman_outputs(self, hidden: Tensor) -> Tensor:
        """Compute the outputs of all steps from the hidden states."""
        h = F.linear(hidden, *self.layers[2])
        return torch.stack([self.activate(one, t) for t, one in enumerate(h.unbind(0))])
