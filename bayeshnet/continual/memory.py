"""Stored examples of tasks, for replay, joint training and coresets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import value_error
from ..mnets.inputs import join_inputs, take

__all__ = ["ExampleMemory"]


class ExampleMemory(nn.Module):
    """Examples of each task, in buffers that are saved, loaded and moved with the module that holds the memory.

    Attributes:
        num_tasks: number of tasks of which examples are stored.

    Example:
        >>> memory = ExampleMemory()
        >>> memory.store(torch.randn(100, 4), torch.zeros(100).long(), size=10)
        >>> x, y, task = memory.draw(6, torch.Generator().manual_seed(0))
        >>> x.shape, y.shape, task.tolist()
        (torch.Size([6, 4]), torch.Size([6]), [0, 0, 0, 0, 0, 0])
        >>> memory
        ExampleMemory(num_tasks=1, num_examples=10)
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_tasks = 0

    @property
    def num_examples(self) -> int:
        """Number of stored examples of all tasks together."""
        return sum(len(self.of(t)[1]) for t in range(self.num_tasks))

    def store(self, x: Any, y: Tensor, size: int | None = None, generator: torch.Generator | None = None) -> None:
        """Store examples of the next task.

        Args:
            x: inputs ``(N, *input_shape)``, or a tuple of several; inputs of a data set are read.
            y: targets, one per input.
            size: number of examples to choose at random; None for all of them.
            generator: random generator of the choice.
        """
        device = generator.device if generator is not None else y.device
        order = torch.randperm(len(y), generator=generator, device=device)[:size].to(y.device)
        self.make_room()
        self._set(self.num_tasks - 1, take(x, order), y[order])

    def make_room(self) -> None:
        """Add a task without examples, for a checkpoint to be loaded into."""
        self._set(self.num_tasks, torch.empty(0), torch.empty(0))
        self.num_tasks += 1

    def of(self, task: int) -> tuple[Any, Tensor]:
        """Return the stored inputs and targets of a task."""
        if not 0 <= task < self.num_tasks:
            raise value_error("task", expected=f"a number below the {self.num_tasks} tasks stored", got=task)
        y, parts = self.get_buffer(f"y{task}"), [self.get_buffer(name) for name in self._names(task)]
        return (parts[0] if len(parts) == 1 else tuple(parts)), y

    def draw(
        self, num: int, generator: torch.Generator | None = None, tasks: Sequence[int] | None = None
    ) -> tuple[Any, Tensor, Tensor]:
        """Draw stored examples at random, with replacement.

        Args:
            num: number of examples.
            generator: random generator. One on another device than the CPU chooses there, and the host waits for it.
            tasks: numbers of the tasks to draw from; None for all.

        Returns:
            Inputs ``(num, *input_shape)``, targets and numbers of their tasks ``(num,)``, in the order of ``tasks``.

        Raises:
            ValueError: if no example of these tasks is stored.
        """
        parts = self.draw_each(num, generator, tasks)
        numbers = list(range(self.num_tasks)) if tasks is None else list(tasks)
        number = torch.tensor(numbers).repeat_interleave(torch.tensor([len(y) for _, y in parts]))
        targets = torch.cat([y for _, y in parts])
        return join_inputs([x for x, _ in parts]), targets, number.to(targets.device, non_blocking=True)

    def draw_each(
        self, num: int, generator: torch.Generator | None = None, tasks: Sequence[int] | None = None
    ) -> list[tuple[Any, Tensor]]:
        """Draw as :meth:`draw` does, and return inputs and targets of each task on their own.

        Which examples are chosen is decided on the generator's device. With one on the CPU, or none, the program knows
        how many there are of each task without waiting for the device that holds them.
        """
        parts = [self.of(t) for t in (range(self.num_tasks) if tasks is None else tasks)]
        sizes = [len(y) for _, y in parts]
        if not sum(sizes):
            raise value_error("tasks", expected="tasks with stored examples", found="none")
        device = generator.device if generator is not None else "cpu"
        index = torch.randint(sum(sizes), (num,), generator=generator, device=device).sort().values
        ends = torch.tensor(sizes).cumsum(0)
        part = torch.searchsorted(ends.to(device), index, right=True)
        rows = [index[part == i] - int(end) + size for i, (end, size) in enumerate(zip(ends, sizes, strict=True))]
        return [_rows_of(part, row) for part, row in zip(parts, rows, strict=True)]

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the buffers the shapes of a state dict that is about to be loaded."""
        for t in range(self.num_tasks):
            if f"x{t}" in state and f"y{t}" in state:
                further = [name for name in state if name.startswith(f"x{t}_")]
                names = [f"x{t}", *sorted(further, key=lambda name: int(name.split("_")[1]))]
                x = tuple(state[name].clone() for name in names)
                self._set(t, x[0] if len(x) == 1 else x, state[f"y{t}"].clone())

    def extra_repr(self) -> str:
        """Show the number of tasks and of examples."""
        return f"num_tasks={self.num_tasks}, num_examples={self.num_examples}"

    def _names(self, task: int) -> list[str]:
        """Return the names of the buffers of a task's inputs: ``x3``, and ``x3_1`` and so on for further ones."""
        names = [f"x{task}"]
        while f"x{task}_{len(names)}" in self._buffers:
            names.append(f"x{task}_{len(names)}")
        return names

    def _set(self, task: int, x: Any, y: Tensor) -> None:
        for number, part in enumerate(x if isinstance(x, tuple) else (x,)):
            self.register_buffer(f"x{task}_{number}" if number else f"x{task}", part)
        self.register_buffer(f"y{task}", y)


def _rows_of(part: tuple[Any, Tensor], rows: Tensor) -> tuple[Any, Tensor]:
    """Return inputs and targets at rows that may be known on another device."""
    x, y = part
    there = rows.to(y.device, non_blocking=True)
    return take(x, there), y[there]
