"""Adam for parameters on one CPU, without the detours that cost small networks more than the step itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["DirectAdam", "make_adam"]


class _Moments(NamedTuple):
    """What a step needs besides gradients, of parameters that have one.

    Attributes:
        parameters: the parameters.
        states: their entries in the optimizer's state.
        counter: how many steps each has made ``(N,)``, counted at once; each entry's ``step`` is a view of it.
        lists: first and second moments, their maxima, and the steps one by one.
    """

    parameters: list[Tensor]
    states: list[dict[str, Any]]
    counter: Tensor
    lists: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]

    def serve(self, parameters: list[Tensor], state: dict[Any, Any]) -> bool:
        """Whether these are the parameters, and nobody has changed their state."""
        return len(parameters) == len(self.parameters) and all(
            p is q and state.get(p) is kept and kept["exp_avg"] is first and kept["step"] is count
            for p, q, kept, first, count in zip(
                parameters, self.parameters, self.states, self.lists[0], self.lists[3], strict=True
            )
        )


class DirectAdam(torch.optim.Adam):
    """Torch's fused Adam, called at once; its state is that of ``torch.optim.Adam(..., fused=True)``.

    Args:
        parameters: of one dtype, on the CPU.
        lr: learning rate.
    """

    # Torch wraps these so that its compiler leaves them alone, and imports the compiler for that: two seconds of a run.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self._moments: dict[int, _Moments] = {}
        super().__init__(parameters, lr=lr, fused=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take another state."""
        self._moments = {}
        super().__setstate__(state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step with the gradients that are there, those of ``closure`` if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            moments = self._moments.get(index)
            if moments is None or not moments.serve(parameters, self.state):
                moments = self._moments[index] = self._gather(group)
            moments.counter.add_(1)
            beta1, beta2 = group["betas"]
            torch._fused_adam_(
                parameters,
                [p.grad for p in parameters],
                *moments.lists,
                lr=float(group["lr"]),
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
            )
        return loss

    def _gather(self, group: dict[str, Any]) -> _Moments:
        parameters, gradients, first, second, largest, steps = ([] for _ in range(6))  # type: ignore[var-annotated]
        self._init_group(group, parameters, gradients, first, second, largest, steps)
        counter = torch.stack(steps)
        states = [self.state[p] for p in parameters]
        steps = list(counter.unbind())
        for state, count in zip(states, steps, strict=True):
            state["step"] = count
        return _Moments(parameters, states, counter, (first, second, largest, steps))

    step.hooked = True  # type: ignore[attr-defined] # torch's frame for profilers and hooks costs as much as the step


def make_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam in the quickest form that the parameters allow."""
    given = list(parameters)
    kinds = {(p.device.type, p.dtype) for p in given}
    if len(kinds) == 1 and all(p.is_floating_point() and p.device.type == "cpu" for p in given):
        return DirectAdam(given, lr)
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in given)
    return torch.optim.Adam(given, lr=lr, fused=fused)
