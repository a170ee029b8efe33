"""The program of the bound, compiled by torch or captured as a CUDA graph, in place of its evaluation."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor

from ...errors import check_flags, type_error, value_error
from ...mnets.inputs import map_tensors
from ...parallel.shares import shares_samples
from ..bound import ELBOTerms
from .program import BoundProgram

__all__ = ["AcceleratedBound", "CapturedBound", "CompiledBound", "accelerated", "is_recorded"]

_MOST_SHAPES = 8
Function = Callable[..., tuple[Tensor, ...]]


class AcceleratedBound(ABC):
    """The bound as a program that is made once for each shape of batches.

    Args:
        program: the bound as a function of tensors.
    """

    def __init__(self, program: BoundProgram) -> None:
        self.program = program
        self._made: dict[Any, Function] = {}

    def __call__(self, batch: Sequence[Any], beta: float) -> ELBOTerms:
        """Compute the parts of the bound; the loss has its gradient."""
        parameters = self.program.parameters
        heat = torch.full((), beta, dtype=parameters[0].dtype, device=parameters[0].device)
        key = _shapes(tuple(batch))
        if key not in self._made:
            if len(self._made) == _MOST_SHAPES:
                expected = f"batches of at most {_MOST_SHAPES} shapes, each of which is a program of its own"
                raise value_error("data", expected=expected, found="more", hint="Leave compile and capture off.")
            self._made[key] = self._make(parameters, heat, batch)
        loss, nll, kl, analytic, information, *gradients = self._made[key](parameters, heat, *batch)
        attached = _WithGradient.apply(loss, len(parameters), *parameters, *gradients)  # type: ignore[no-untyped-call]
        return ELBOTerms(attached, nll, kl, analytic, information)

    @abstractmethod
    def _make(self, parameters: Sequence[Tensor], beta: Tensor, batch: Sequence[Any]) -> Function:
        """Return a function of parameters, temperature and batch, for batches of this shape."""


@final
class CompiledBound(AcceleratedBound):
    """The program as one graph without breaks, traced from the library's code and compiled by ``torch.compile``.

    Args:
        program: the bound as a function of tensors.
        backend: of ``torch.compile``.
    """

    def __init__(self, program: BoundProgram, backend: str = "inductor") -> None:
        super().__init__(program)
        self.backend = backend

    def _make(self, parameters: Sequence[Tensor], beta: Tensor, batch: Sequence[Any]) -> Function:
        from torch.fx.experimental.proxy_tensor import make_fx

        devices = [beta.device] if beta.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # tracing computes once, and is to take no numbers
            graph = make_fx(self.program)(list(parameters), beta, *batch)
        # Inductor would draw other numbers for the same seed.
        options: Any = {"fallback_random": True} if self.backend == "inductor" else None
        compiled: Function = torch.compile(graph, fullgraph=True, dynamic=False, backend=self.backend, options=options)

        def run(parameters: Sequence[Tensor], beta: Tensor, *batch: Any) -> tuple[Tensor, ...]:
            with torch.no_grad():  # the program has the gradient in it
                return compiled([p.detach() for p in parameters], beta, *batch)

        return run


@final
class CapturedBound(AcceleratedBound):
    """The program as a CUDA graph: its kernels are launched at once, on copies of the batch that stay in place.

    Args:
        program: the bound as a function of tensors.
        compiled: the compiled program, whose kernels are launched instead; None for torch's own.
    """

    def __init__(self, program: BoundProgram, compiled: CompiledBound | None = None) -> None:
        super().__init__(program)
        self.compiled = compiled

    def _make(self, parameters: Sequence[Tensor], beta: Tensor, batch: Sequence[Any]) -> Function:
        function = self.program if self.compiled is None else self.compiled._make(parameters, beta, batch)
        heat, held = beta.clone(), map_tensors(torch.clone, tuple(batch))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(beta.device):  # streams and graphs are those of the current one
            _warm_up(lambda: function(parameters, heat, *held), beta.device)
            with torch.cuda.graph(graph):
                out = function(parameters, heat, *held)

        def replay(parameters: Sequence[Tensor], beta: Tensor, *batch: Any) -> tuple[Tensor, ...]:
            heat.copy_(beta)
            for old, new in zip(_tensors(held), _tensors(batch), strict=True):
                old.copy_(new)
            with torch.cuda.device(beta.device):
                graph.replay()
            return tuple(value.clone() for value in out)

        return replay


def _warm_up(run: Callable[[], object], device: torch.device) -> None:
    """Run a program so that libraries choose their kernels, and refuse one that waits; random numbers stay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.random.fork_rng(devices=[device]), torch.cuda.stream(stream):
        for _ in range(3):
            run()
        with _no_waits():
            run()
    torch.cuda.current_stream().wait_stream(stream)


@contextmanager
def _no_waits() -> Iterator[None]:
    """Refuse a program in which the host waits for the device: capturing it fails, and breaks torch's generator."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode("error")
        yield
    except RuntimeError as error:
        if "synchronizing CUDA operation" not in str(error):
            raise
        expected = "a bound whose steps neither wait for the device nor copy to it: model, prior and guide there"
        raise value_error("capture", expected=expected, found=str(error), hint="Leave it off.") from error
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is a prototype
        torch.cuda.set_sync_debug_mode(mode)


class _WithGradient(torch.autograd.Function):
    """A loss with gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.gradients = [
            None if g.numel() == 0 and p.numel() else g for p, g in zip(tensors[:count], tensors[count:], strict=True)
        ]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        own = [None if g is None else g * grad for g in ctx.gradients]
        return None, None, *own, *(None for _ in own)


def is_recorded(compile: Any, capture: Any) -> bool:
    """Return whether the bound is to be a recorded program, which draws from torch's global generators."""
    if not isinstance(compile, str):
        check_flags(compile=compile)
    elif compile not in torch.compiler.list_backends(exclude_tags=()):
        expected = f"True, False or a backend of torch.compile: {', '.join(torch.compiler.list_backends(()))}"
        raise value_error("compile", expected=expected, got=compile)
    check_flags(capture=capture)
    if (compile or capture) and shares_samples():
        expected = "neither where processes share out samples, since all draw the same numbers"
        raise value_error("compile, capture", expected=expected, found="one of them", hint="Share out the data.")
    return bool(compile or capture)


def accelerated(objective: Any, compile: bool | str, capture: bool) -> AcceleratedBound | None:
    """Return the accelerated bound of an objective; None if neither is asked for.

    Args:
        objective: model, guide, bound and losses of a training.
        compile: True, or the name of a backend of ``torch.compile``.
        capture: True for a CUDA graph.
    """
    if not is_recorded(compile, capture):
        return None
    if objective.needs_weights:
        expected = "losses that do not look at weight draws, with compile or capture"
        raise value_error("losses, extra_terms", expected=expected, found="one that does", hint="Leave them off.")
    program = BoundProgram(objective.elbo, objective.model, objective.guide, objective.arguments)
    if not program.parameters:
        raise type_error("guide", expected="parameters that exist before the first step", found="none")
    compiled = CompiledBound(program, compile if isinstance(compile, str) else "inductor") if compile else None
    if not capture:
        return compiled
    device = program.parameters[0].device
    if device.type != "cuda":
        advice = "CUDA graphs are CUDA's; compile=True works everywhere."
        raise value_error("capture", expected="a guide on a CUDA device", found=f"one on {device}", hint=advice)
    return CapturedBound(program, compiled)


def _shapes(part: Any) -> Any:
    if isinstance(part, Tensor):
        return (*part.shape, part.dtype)
    return tuple(map(_shapes, part)) if isinstance(part, (tuple, list)) else part


def _tensors(part: Any) -> list[Tensor]:
    return [part] if isinstance(part, Tensor) else [t for each in part for t in _tensors(each)]
