"""Losses beside the bound: the contract, the view of a training step that they get, and plain functions as losses."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..checks import check_callable, check_items, refusing
from ..errors import describe, type_error, value_error
from ..parallel.shares import own_rows
from .bound import Evaluation

__all__ = ["AddedLoss", "Penalty", "StepContext", "Term", "as_losses"]

Penalty = Callable[[], Tensor] | Callable[[int], Tensor]
"""A function without arguments, or of the number of the step, that returns a scalar in nats per example.

One that has a method ``during(step)`` is evaluated within the context that this returns, which is entered before the
draws of the step.
"""

Term = Callable[..., Tensor]
"""A function called as ``term(weights, x, y, step)`` that returns a scalar in nats per example.

``weights`` ``(S, P)`` are the draws under which the likelihood is evaluated (with local noise, other draws of the same
distribution), with their gradient; ``x`` and ``y`` are the batch of the step (or whatever tensors the data have),
``step`` counts from 0.
"""


@dataclass(frozen=True)
class StepContext:
    """A training step as losses beside the bound see it.

    Attributes:
        step: number of the step, from 0.
        batch: tensors of the batch.
        evaluation: the evaluation of the bound on this batch; None where the bound shows no weights.
        whole: the batch of which ``batch`` is this process's part; None where it is the whole one.
        weight: factor by which means over this process's part enter those over the whole batch.
    """

    step: int
    batch: Sequence[Tensor]
    evaluation: Evaluation | None = None
    whole: Sequence[Tensor] | None = None
    weight: float = 1.0

    @property
    def whole_x(self) -> Tensor:
        """Inputs of the batch of all processes that share data out; :attr:`x` for a process that is alone."""
        return self.batch[0] if self.whole is None else self.whole[0]

    def own(self, examples: Any) -> Any:
        """Return this process's part of examples of which there are as many as the whole batch has.

        A loss that draws examples draws them for :attr:`whole_x` and evaluates this part, with :attr:`weight`: it is
        then the same, on average over the processes, as that of one process.
        """
        return examples if self.whole is None else own_rows((examples,))[0][0]

    @property
    def x(self) -> Tensor:
        """Inputs ``(N, ...)``, the first tensor of the batch."""
        return self.batch[0]

    @property
    def y(self) -> Tensor:
        """Targets ``(N, ...)``, the second tensor of the batch."""
        return self.batch[1]

    @property
    def weights(self) -> Tensor:
        """Draws ``(S, P)`` under which the likelihood is evaluated, with their gradient.

        With local noise they are other draws of the same distribution.
        """
        return self._shown().weights

    def outputs(self, inputs: Tensor) -> Tensor:
        """Compute outputs ``(S, K, C)`` of the network at inputs ``(K, ...)`` under :attr:`weights`.

        The inputs join the network pass of the batch where the network treats each example independently and the loss
        asks before that pass (:attr:`AddedLoss.joins_batch`); else they get a pass of their own.
        """
        return self._shown().outputs(inputs)

    def _shown(self) -> Evaluation:
        if self.evaluation is None:
            raise value_error("elbo", expected="ImplicitELBO, which shows its weight draws", found="another bound")
        return self.evaluation


class AddedLoss(ABC):
    """A term of the training loss beside the bound.

    Attributes:
        column: name in :data:`~bayeshnet.inference.run.PARTS` under which its value is recorded.
        joins_batch: True for a loss that is evaluated before the network pass of the batch, if further inputs can join
            that pass; among several such losses this holds for the first. Others are evaluated after the bound, those
            of column ``"penalty"`` first.
        needs_weights: True for a loss that looks at weight draws.
        generators: generators of its own, besides that of the training, whose states are part of a step that a run
            keeps, though not of ``FitResult.state``.
    """

    column: ClassVar[str] = "extra"
    joins_batch: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = True
    generators: Sequence[torch.Generator] = ()

    @abstractmethod
    def __call__(self, context: StepContext) -> Tensor:
        """Compute the loss, a scalar in nats per example."""


class FunctionOfContext(AddedLoss):
    """A function of the :class:`StepContext` as a loss.

    Args:
        function: called with the context.
    """

    def __init__(self, function: Callable[[StepContext], Tensor]) -> None:
        self.function = function

    def __call__(self, context: StepContext) -> Tensor:
        """Call the function."""
        expected = "losses, or functions of a StepContext"
        found: Tensor = check_loss("losses", refusing("losses", self.function, expected)(context))
        return found


class FunctionOfWeights(AddedLoss):
    """A :data:`Term` as a loss.

    Args:
        function: called as ``function(weights, x, y, step)``.
    """

    def __init__(self, function: Term) -> None:
        self.function = function

    def __call__(self, context: StepContext) -> Tensor:
        """Call the function."""
        expected = "functions of weights, x, y and step"
        arguments = (context.weights, *context.batch, context.step)
        found: Tensor = check_loss("extra_terms", refusing("extra_terms", self.function, expected)(*arguments))
        return found


class FunctionOfStep(AddedLoss):
    """A :data:`Penalty` as a loss.

    Args:
        function: called without arguments, or with the number of the step.
    """

    column: ClassVar[str] = "penalty"
    needs_weights: ClassVar[bool] = False

    def __init__(self, function: Penalty) -> None:
        self.function: Callable[..., Tensor] = function
        self.takes_step = _takes_step(function)
        if hasattr(function, "during"):
            self.during = function.during

    def __call__(self, context: StepContext) -> Tensor:
        """Call the function."""
        expected = "functions without arguments, or of the step"
        arguments = (context.step,) if self.takes_step else ()
        found: Tensor = check_loss("penalties", refusing("penalties", self.function, expected)(*arguments))
        return found


def as_losses(
    losses: Sequence[AddedLoss | Callable[[StepContext], Tensor]] = (),
    penalties: Sequence[AddedLoss | Penalty] = (),
    extra_terms: Sequence[AddedLoss | Term] = (),
) -> list[AddedLoss]:
    """Return one list of losses: objects as they are, functions by their arguments.

    Args:
        losses: losses, or functions of the :class:`StepContext`.
        penalties: losses, or functions without arguments or of the step.
        extra_terms: losses, or functions of ``(weights, x, y, step)``.
    """
    kinds: list[tuple[str, Sequence[Any], Callable[[Any], AddedLoss]]] = [
        ("losses", losses, FunctionOfContext),
        ("penalties", penalties, FunctionOfStep),
        ("extra_terms", extra_terms, FunctionOfWeights),
    ]
    found: list[AddedLoss] = []
    for argument, given, adapt in kinds:
        for loss in check_items(argument, given, "a list of losses or functions"):
            known = isinstance(loss, AddedLoss)
            found.append(loss if known else adapt(check_callable(argument, loss, "losses or functions")))
    return found


def check_loss(argument: str, value: Any) -> Any:
    """Return a loss if it is a scalar; its value is not looked at."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value
    raise type_error(argument, expected="functions that return a floating scalar tensor", found=describe(value))


def _takes_step(penalty: Callable[..., Tensor]) -> bool:
    """Return whether a penalty requires an argument."""
    try:
        return any(p.default is p.empty for p in inspect.signature(penalty).parameters.values())
    except (TypeError, ValueError):
        return False
