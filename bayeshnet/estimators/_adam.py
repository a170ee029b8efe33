"""Adam for parameters on one CPU, without the detours that cost small networks more than the step itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["DirectAdam", "make_adam"]


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
        """Make a fused Adam."""
        super().__init__(parameters, lr=lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step with the gradients that are there, those of ``closure`` if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            tensors: list[list[Any]] = [[] for _ in range(6)]
            self._init_group(group, *tensors)
            if tensors[0]:
                torch._foreach_add_(tensors[-1], 1)
                beta1, beta2 = group["betas"]
                torch._fused_adam_(
                    *tensors, lr=float(group["lr"]), beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"],
                    eps=group["eps"], amsgrad=group["amsgrad"], maximize=group["maximize"],
                )  # fmt: skip
        return loss

    step.hooked = True  # type: ignore[attr-defined] # torch's frame for profilers and hooks costs as much as the step


def make_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Adam:
    """Adam in the quickest form that the parameters allow."""
    given = list(parameters)
    kinds = {(p.device.type, p.dtype) for p in given}
    if len(kinds) == 1 and all(p.is_floating_point() and p.device.type == "cpu" for p in given):
        return DirectAdam(given, lr)
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in given)
    return torch.optim.Adam(given, lr=lr, fused=fused)
