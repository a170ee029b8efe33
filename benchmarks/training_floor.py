"""The floor of a training step: its matrix products, random numbers and optimizer alone, recorded and run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from bayeshnet.inference import Callback

__all__ = ["Floor", "Recorder"]

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot")
RANDOM = ("randn", "rand", "randint", "randperm", "normal_", "uniform_", "random_")
OPTIMIZER = ("_fused_adam_",)
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Recorder(TorchDispatchMode):
    """Records the calls of these operations, of the forward and the backward pass alike."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and keep it with its arguments if it is one of these."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            self.calls.append((func, tree_map(_held, args), dict(kwargs)))
        elif name in RANDOM or name in OPTIMIZER:
            self.calls.append((func, tree_map(_copied, args), tree_map(_copied, dict(kwargs))))
        return func(*args, **kwargs)


class _Marks(Callback):
    """The number of recorded calls after each step."""

    def __init__(self, recorder: Recorder) -> None:
        """Keep the recorder."""
        self.recorder, self.marks = recorder, [0]

    def on_step(self, run: Any) -> None:
        """Note how many calls there are."""
        self.marks.append(len(self.recorder.calls))


class Floor:
    """The calls of these operations in one step, to be timed beside the step.

    Args:
        train: makes so many steps, with callbacks.
    """

    def __init__(self, train: Callable[[int, list[Callback]], Any]) -> None:
        """Record the third step."""
        with Recorder() as recorder:
            marks = _Marks(recorder)
            train(3, [marks])
        self.calls = recorder.calls[marks.marks[2] : marks.marks[3]]

    @torch.no_grad()
    def seconds(self, count: int) -> list[float]:
        """CPU seconds of each of ``count`` repetitions."""
        found = []
        for _ in range(count):
            begin = time.process_time()
            for function, args, kwargs in self.calls:
                function(*args, **kwargs)
            found.append(time.process_time() - begin)
        return found


def _held(part: Any) -> Any:
    """Return a tensor as it lies in memory, without its graph."""
    return part.detach() if isinstance(part, Tensor) else part


def _copied(part: Any) -> Any:
    """Return a copy of a tensor that an operation writes into, and another generator in place of one."""
    if isinstance(part, torch.Generator):
        return torch.Generator(device=part.device)
    return part.detach().clone() if isinstance(part, Tensor) else part
