"""Stored examples of tasks: what replay, joint training and coresets keep besides the posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import value_error

__all__ = ["ExampleMemory"]


class ExampleMemory(nn.Module):
    """Examples of each task as buffers, so that they are saved, loaded and moved with the module that holds them.

    Example:
        >>> memory = ExampleMemory()
        >>> memory.store(torch.randn(100, 4), torch.zeros(100).long(), size=10)
        >>> x, y, task = memory.draw(6, torch.Generator().manual_seed(0))
        >>> x.shape, y.shape, task.tolist()
        (torch.Size([6, 4]), torch.Size([6]), [0, 0, 0, 0, 0, 0])
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_tasks = 0

    @property
    def num_examples(self) -> int:
        """How many examples are kept in all."""
        return sum(len(self.of(t)[0]) for t in range(self.num_tasks))

    def store(self, x: Tensor, y: Tensor, size: int | None = None, generator: torch.Generator | None = None) -> None:
        """Keep ``size`` random examples of the next task, or all of them."""
        device = generator.device if generator is not None else x.device
        order = torch.randperm(len(x), generator=generator, device=device)[:size].to(x.device)
        self.make_room()
        self._set(self.num_tasks - 1, x[order], y[order])

    def make_room(self) -> None:
        """Count one more task, whose examples are to be loaded."""
        self._set(self.num_tasks, torch.empty(0), torch.empty(0))
        self.num_tasks += 1

    def of(self, task: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets that are kept of a task."""
        if not 0 <= task < self.num_tasks:
            raise value_error("task", expected=f"a number below the {self.num_tasks} tasks stored", got=task)
        return self.get_buffer(f"x{task}"), self.get_buffer(f"y{task}")

    def draw(
        self, num: int, generator: torch.Generator | None = None, tasks: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw ``num`` examples of ``tasks`` (or all), with replacement; in order of tasks, with their numbers."""
        numbers = list(range(self.num_tasks)) if tasks is None else list(tasks)
        parts = [self.of(t) for t in numbers]
        where = parts[0][0].device
        ends = torch.tensor([len(x) for x, _ in parts], device=where).cumsum(0)
        device = generator.device if generator is not None else where
        index = torch.randint(int(ends[-1]), (num,), generator=generator, device=device).to(where).sort().values
        part = torch.searchsorted(ends, index, right=True)
        rows = [index[part == i] - ends[i] + len(x) for i, (x, _) in enumerate(parts)]
        drawn = [(x[row], y[row]) for (x, y), row in zip(parts, rows, strict=True)]
        return torch.cat([x for x, _ in drawn]), torch.cat([y for _, y in drawn]), index.new_tensor(numbers)[part]

    def resize_like(self, state: Mapping[str, Tensor]) -> None:
        """Give the buffers the shapes of a state that is about to be loaded."""
        for t in range(self.num_tasks):
            if f"x{t}" in state and f"y{t}" in state:
                self._set(t, state[f"x{t}"].clone(), state[f"y{t}"].clone())

    def _set(self, task: int, x: Tensor, y: Tensor) -> None:
        self.register_buffer(f"x{task}", x)
        self.register_buffer(f"y{task}", y)
