"""Context modulation of a recurrent network: which layers are modulated, and in which time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import value_error
from ..mnet_interface import MainNetInterface
from .modulation import Modulation, Modulator, add_context_mod

__all__ = ["StepModulation"]


@dataclass(frozen=True)
class StepModulation:
    """Options of context modulation along a sequence.

    Attributes:
        options: options that all main networks share.
        n_in: number of inputs of the network.
        pre: sizes of the fully connected layers before the recurrent ones.
        recurrent: sizes of the recurrent layers.
        post: sizes of the fully connected layers after the recurrent ones.
        last_step: modulate recurrent layers in the last time step only.
        num_steps: number of time steps if recurrent layers are modulated differently in each, else None.
        separate: each time step has a modulation layer of its own.
    """

    options: Modulation
    n_in: int
    pre: Sequence[int]
    recurrent: Sequence[int]
    post: Sequence[int]
    last_step: bool
    num_steps: int | None
    separate: bool

    @property
    def sizes(self) -> list[int]:
        """Sizes of all layers."""
        return [*self.pre, *self.recurrent, *self.post]

    @property
    def num_modulated(self) -> int:
        """Number of layers whose outputs are modulated."""
        return len(self.sizes) - self.options.no_last_layer_context_mod

    def is_recurrent(self, i: int) -> bool:
        """Return True if layer ``i`` is recurrent."""
        return len(self.pre) <= i < len(self.pre) + len(self.recurrent)

    def check(self) -> None:
        """Refuse options on time steps that exclude each other."""
        if self.num_steps is None or not self.options.use_context_mod:
            return
        if self.last_step:
            raise value_error("context_mod_last_step", expected="False where context_mod_num_ts is given", got=True)
        if not self.separate and not self.options.context_mod_no_weights:
            raise value_error(
                "context_mod_separate_layers_per_ts",
                expected="True where context_mod_num_ts is given",
                got=False,
                hint="Or give the modulation from outside: context_mod_no_weights=True.",
            )

    def declare(self, net: MainNetInterface) -> None:
        """Declare all modulation layers: number 0 for the inputs, even numbers behind the odd ones of the layers."""
        shapes, numbers, steps = [[self.n_in]], [0], [()]
        if not self.options.context_mod_inputs:
            shapes, numbers, steps = [], [], []
        for i, size in enumerate(self.sizes[: self.num_modulated]):
            stepwise = self.num_steps is not None and self.is_recurrent(i)
            count = self.num_steps if stepwise and self.separate else 1
            shapes += [[size]] * (count or 1)
            numbers += [2 * i + 2] * (count or 1)
            steps += [(self.num_steps,) if stepwise and not self.separate else ()] * (count or 1)  # type: ignore[list-item]
        add_context_mod(net, self.options, shapes, numbers, steps)

    def assign(self, modulators: Sequence[Modulator], num_steps: int) -> list[list[Modulator | None]]:
        """Assign the modulators of one forward pass to layers and time steps.

        Args:
            modulators: all modulators in the order of their declaration.
            num_steps: length of the sequences.

        Returns:
            For each layer a list of modulators: for recurrent layers one per time step, else a single one; None for no
            modulation.
        """
        found = iter(modulators[self.options.context_mod_inputs :])
        layers: list[list[Modulator | None]] = []
        for i in range(len(self.sizes)):
            recurrent = self.is_recurrent(i)
            if not self.options.use_context_mod or i >= self.num_modulated:
                layers.append([None] * (num_steps if recurrent else 1))
            elif not recurrent:
                layers.append([next(found)])
            elif self.num_steps is not None:
                if num_steps > self.num_steps:
                    limit = f"at most {self.num_steps} time steps (context_mod_num_ts)"
                    raise value_error("x", expected=limit, found=f"{num_steps}")
                one = None if self.separate else next(found)
                every = [next(found) if one is None else one.at(t) for t in range(self.num_steps)]
                layers.append(list(every[:num_steps]))
            else:
                one = next(found)
                layers.append([one if not self.last_step or t == num_steps - 1 else None for t in range(num_steps)])
        return layers
