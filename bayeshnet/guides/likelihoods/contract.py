"""The contract of outputs and targets: where both meet, their shapes and types are checked here and nowhere else.

Outputs are ``(S, N, C)``: ``C`` numbers for each of ``N`` inputs under each of ``S`` weight draws. Targets are values
``(N, C)`` or class indices ``(N,)``. A single output or value per input may lack its dimension: ``(N,)`` is taken as
``(N, 1)``. Integers and booleans are converted, to class indices or to the type of the outputs. Answers per pixel or
step have the dimensions of these places last: outputs ``(S, N, C, *P)``, class indices ``(N, *P)``, values
``(N, C, *P)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import describe, type_error, value_error
from ...functional import batched_forward

__all__ = ["Classes", "Targets", "Values", "as_outputs", "beside", "check_outputs", "network_outputs", "support_named"]


def as_outputs(outputs: Any, num_inputs: int) -> Tensor:
    """Return outputs as ``(S, N, C)``, or ``(S, N, C, *P)`` for answers per pixel or step.

    Args:
        outputs: as they are returned, or ``(S, N)`` for a single output per input.
        num_inputs: the number ``N`` of inputs.

    Raises:
        ValueError: if there is no row of outputs per input.
        TypeError: if these are several tensors, or not floating.

    Example:
        >>> import torch
        >>> as_outputs(torch.zeros(5, 2), num_inputs=2).shape
        torch.Size([5, 2, 1])
    """
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        advice = "Wrap the network in a module that returns the outputs that the targets depend on."
        raise type_error("x or net", expected="a network that returns one floating tensor", got=outputs, hint=advice)
    if outputs.ndim == 2:
        outputs = outputs.unsqueeze(-1)
    if outputs.ndim < 3 or outputs.shape[1] != num_inputs or not all(outputs.shape[2:]):
        expected = f"a network with outputs of shape ({num_inputs}, C), or ({num_inputs},) for a single one"
        advice = "One row of outputs per input; for answers per pixel or step (N, C, ...), classes before places."
        found = f"outputs of shape {tuple(outputs.shape[1:])}"
        raise value_error("x or net", expected=expected, found=found, hint=advice)
    value: Tensor = outputs
    return value


def network_outputs(net: nn.Module, weights: Tensor, x: Any, **options: Any) -> Any:
    """Run a network under many weight vectors by :func:`~bayeshnet.functional.batched_forward`.

    Raises:
        ValueError: if an operation of the network does not take its arguments, with the error as the cause.
    """
    if isinstance(x, Tensor) and x.is_meta and not weights.is_meta:
        raise value_error("x", expected=f"inputs on {weights.device}, like the weights", got=x)
    try:
        return batched_forward(net, weights, x, **options)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if ": expected " in str(error):  # a message of this library says it better
            raise
        found = f"{describe(x)}, {describe(weights)} and {type(net).__name__} ({type(error).__name__}: {error})"
        raise value_error(
            "x, weights or net", expected="inputs and weights that the network takes", found=found
        ) from error


def check_outputs(outputs: Any) -> Tensor:
    """Return outputs ``(*B, N, C)`` of a network if their dtype and the number of their dimensions are right."""
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point() or _has_few_bits(outputs):
        raise type_error("outputs", expected="a floating tensor (*B, N, C)", got=outputs)
    if outputs.ndim < 2 or not outputs.shape[-1]:
        raise value_error("outputs", expected="a floating tensor (*B, N, C)", got=outputs)
    return outputs


def _has_few_bits(value: Tensor) -> bool:
    """Return whether a tensor is floating with 8 bits, for which torch has no arithmetic."""
    return value.is_floating_point() and value.dtype.itemsize < 2


def beside(y: Tensor, outputs: Tensor) -> Tensor:
    """Return targets if they are on the device of the outputs."""
    if y.device != outputs.device:
        raise value_error("y", expected=f"targets on {outputs.device}, like the outputs", got=y)
    return y


class Targets(ABC):
    """The targets that a likelihood takes.

    Attributes:
        expected: description of them.
        hint: advice about others.
    """

    expected: str
    hint: ClassVar[str] = ""

    @abstractmethod
    def convert(self, y: Any, num: int, num_targets: int, dtype: torch.dtype, places: Sequence[int] = ()) -> Tensor:
        """Return targets in the one shape and type that the likelihood computes with; refuse others.

        Args:
            y: targets of ``N`` inputs.
            num: the number ``N``.
            num_targets: values per input, or per place.
            dtype: type of the outputs.
            places: shape of the pixels or steps of each input.
        """

    @abstractmethod
    def allowed(self, y: Tensor) -> Tensor:
        """Return which targets have a density."""

    def check(self, y: Any) -> None:
        """Refuse targets without a density; for data on their way in, since it waits for the device."""
        if not isinstance(y, Tensor) or y.is_complex() or y.layout is not torch.strided or _has_few_bits(y):
            raise type_error("y", expected=f"a dense tensor of {self.expected}", got=y)
        if y.is_meta:
            return
        if not bool((allowed := self.allowed(y if y.is_floating_point() else y.long())).all()):
            bad = y[~allowed].flatten()
            found = f"{bad[0].item()!r} among them ({len(bad)} such of {y.numel()})"
            raise value_error("y", expected=self.expected, found=found, hint=self.hint)


@dataclass(frozen=True)
class Classes(Targets):
    """Class indices ``(N,)``, or ``(N, *P)`` for pixels or steps.

    Args:
        ignore_index: label of examples whose class is unknown, or None.
        expected: description of the targets.
    """

    ignore_index: int | None = None
    expected: str = "class indices 0, 1, 2, ..."
    hint: ClassVar[str] = "Leave out examples without a label, or give their label to Categorical(ignore_index=...)."

    def convert(self, y: Any, num: int, num_targets: int, dtype: torch.dtype, places: Sequence[int] = ()) -> Tensor:
        """Return class indices as 64-bit integers ``(N, *places)``."""
        shape = (num, *places)
        if not isinstance(y, Tensor):
            raise type_error("y", expected=f"a tensor of class indices of shape {shape}", got=y)
        if y.shape != shape or y.is_floating_point() or y.is_complex():
            advice = "One class per input; for one-hot targets y.argmax(-1)."
            if places:
                advice = "One class per pixel or step of outputs (N, C, ...); for one-hot targets y.argmax(1)."
            if places and y.shape == (num, num_targets, *places[:-1]):
                advice = "Put the classes of the outputs before pixels or steps, (N, C, ...): outputs.movedim(-1, 1)."
            advice = "Take y.long()." if y.shape == shape else advice
            raise value_error("y", expected=f"class indices of shape {shape}", got=y, hint=advice)
        return y.long()

    def allowed(self, y: Tensor) -> Tensor:
        """Return which labels are at least 0, or the one to be ignored."""
        return y >= 0 if self.ignore_index is None else (y >= 0) | (y == self.ignore_index)


@dataclass(frozen=True)
class Values(Targets):
    """Real numbers ``(N, C)``, or ``(N, C, *P)`` for pixels or steps; a single one may lack its dimension.

    Args:
        support: function that returns which values have a density.
        expected: description of the targets.
        same_type: True if floating targets are given the type of the outputs as well, as those that need no digits.
    """

    support: Callable[[Tensor], Tensor]
    expected: str
    same_type: bool = False

    def convert(self, y: Any, num: int, num_targets: int, dtype: torch.dtype, places: Sequence[int] = ()) -> Tensor:
        """Return values ``(N, num_targets, *places)``; integers and booleans are given the type of the outputs."""
        shape, single = (num, num_targets, *places), (num, *places)
        if not isinstance(y, Tensor) or y.is_complex() or _has_few_bits(y):
            raise type_error("y", expected=f"a tensor of {self.expected}, of shape {shape}", got=y)
        if num_targets == 1 and y.shape == single:
            y = y.unsqueeze(1)
        if y.shape != shape:
            either = f"{shape} or {single}" if num_targets == 1 else f"{shape}"
            raise value_error("y", expected=f"targets of shape {either}", got=y, hint="One column per target value.")
        found: Tensor = y.to(dtype) if self.same_type or not y.is_floating_point() else y
        return found

    def allowed(self, y: Tensor) -> Tensor:
        """Return which values are in the support."""
        return self.support(y)


@contextmanager
def support_named() -> Iterator[None]:
    """Name the targets where Pyro finds some out of the support of their distribution, with its error as the cause."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "within the support" not in str(error) and "out of bounds" not in str(error):
            raise
        advice = "Class indices run from 0 to the number of outputs less one."
        raise value_error("y", expected="targets that the likelihood can have", found="others", hint=advice) from error


def is_count(y: Tensor) -> Tensor:
    """Return which values are 0, 1, 2, ..."""
    return (y >= 0) & (y == y.round() if y.is_floating_point() else y == y) & y.isfinite()


def is_answer(y: Tensor) -> Tensor:
    """Return which values are 0 or 1."""
    return (y == 0) | (y == 1)
