"""Adam for parameters on one CPU, without overhead that costs small networks more than the step itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["DirectAdam", "make_adam"]


class _Moments(NamedTuple):
    """Tensors of a step besides gradients, of the parameters that have one.

    Attributes:
        parameters: the parameters.
        states: their entries in the state of the optimizer.
        counter: number of steps of each, ``(N,)``; the entry ``step`` of a state is a view of it.
        lists: first moments, second moments, their maxima, and the views of the counter.
    """

    parameters: list[Tensor]
    states: list[dict[str, Any]]
    counter: Tensor
    lists: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]

    def belong_to(self, parameters: list[Tensor], state: dict[Any, Any]) -> bool:
        """Return whether they are those of ``parameters``, in a state that nobody has replaced since."""
        return len(parameters) == len(self.parameters) and all(
            p is q and state.get(p) is kept and kept["exp_avg"] is first and kept["step"] is count
            for p, q, kept, first, count in zip(
                parameters, self.parameters, self.states, self.lists[0], self.lists[3], strict=True
            )
        )


class DirectAdam(torch.optim.Adam):
    """Torch's fused Adam with a shorter ``step``; its state is that of ``torch.optim.Adam(..., fused=True)``.

    It calls the fused kernel itself, keeps the lists that this takes from step to step, and leaves out the frame for
    profilers, hooks and the compiler. Measured on one
    core in whole steps of ``fit``, against ``torch.optim.Adam(..., fused=True)``: steps of 1 to 4 ms
    (``benchmarks/training_step.py``) are 3 to 8 % shorter, steps of 12 to 25 ms 0 to 1 %; those of a perceptron with 8
    hidden units 6 to 7 %. Besides, torch's optimizer imports the compiler at first use, which takes a second.

    Args:
        parameters: of one dtype, on the CPU.
        lr: learning rate.
    """

    # Torch wraps these for the compiler, which it would import for that.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self._moments: dict[int, _Moments] = {}
        super().__init__(parameters, lr=lr, fused=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        self._moments = {}
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step with the gradients of the parameters, computed by ``closure`` if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            moments = self._moments.get(index)
            if moments is None or not moments.belong_to(parameters, self.state):
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
            torch.autograd.graph.increment_version(parameters)  # the fused kernel does not, and caches rely on it
        return loss

    def _gather(self, group: dict[str, Any]) -> _Moments:
        """Collect the moments of a group, with one counter for the steps of all its parameters."""
        parameters, gradients, first, second, largest, steps = ([] for _ in range(6))  # type: ignore[var-annotated]
        self._init_group(group, parameters, gradients, first, second, largest, steps)  # type: ignore[no-untyped-call]
        counter = torch.stack(steps)
        states = [self.state[p] for p in parameters]
        views = list(counter.unbind())
        for state, count in zip(states, views, strict=True):
            state["step"] = count
        return _Moments(parameters, states, counter, (first, second, largest, views))

    step.hooked = True  # type: ignore[attr-defined] # torch does not wrap such a step


def make_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Make the fastest Adam for these parameters."""
    given = list(parameters)
    kinds = {(p.device.type, p.dtype) for p in given}
    if len(kinds) == 1 and all(p.is_floating_point() and p.device.type == "cpu" for p in given):
        return DirectAdam(given, lr)
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in given)
    adam = torch.optim.Adam(given, lr=lr, fused=fused)
    if fused:
        adam.register_step_post_hook(_count_changes)
    return adam


def _count_changes(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Count a change of all parameters that have a gradient, which fused kernels leave uncounted."""
    changed = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    torch.autograd.graph.increment_version(changed)
