"""One layer of a recurrent network over a whole sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["RecurrentLayer"]

Layer = tuple[Tensor, Tensor | None]
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RecurrentLayer:
    """A layer with its weights: Elman's (from inputs, from states, to outputs), or an LSTM (from inputs, from states).

    Attributes:
        layers: weight and bias of each of these maps.
        activation: the nonlinearity.
        modulate: for each time step the modulation of its activations, or None.
        post: whether modulation comes after the nonlinearity.
        depth: number of last steps through which gradients flow, -1 for all.
    """

    layers: Sequence[Layer]
    activation: Step | None
    modulate: Sequence[Step | None]
    post: bool
    depth: int

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and inner states ``(T, N, n)`` for inputs ``(T, N, m)``: of an LSTM, hidden and cell states."""
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
        """Nonlinearity, with modulation before or after."""
        step = self.modulate[t]
        h = h if step is None or self.post else step(h)
        h = h if self.activation is None else self.activation(h)
        return step(h) if step is not None and self.post else h

    def lstm(self, gates: Tensor, cell: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Hidden state and cell; the cell that is carried on is not modulated, since it has no bounds."""
        into, forget, new, out = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
        step = self.modulate[t]
        seen = cell if step is None or self.post else step(cell)
        hidden = torch.sigmoid(out) * (seen if self.activation is None else self.activation(seen))
        return step(hidden) if step is not None and self.post else hidden, cell

    def elman_outputs(self, hidden: Tensor) -> Tensor:
        """Outputs of all steps from the hidden states."""
        h = F.linear(hidden, *self.layers[2])
        return torch.stack([self.activate(one, t) for t, one in enumerate(h.unbind(0))])
