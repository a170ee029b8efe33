"""The training loss of one step: the bound per example, penalties, and terms of the step's draws and batch."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..errors import check_number, value_error
from .elbo import ImplicitELBO
from .run import PARTS
from .schedules import Schedule

__all__ = ["Objective", "OutputTerm", "Penalty", "Term"]

Penalty = Callable[[], Tensor] | Callable[[int], Tensor]
"""Returns a scalar to be added to the loss per example; may take the number of the step.

One that has a method ``during(step)`` is given the step to prepare: it returns a context in which bound and penalties
are evaluated, each once.
"""


Term = Callable[..., Tensor]
"""Called as ``term(weights, x, y, step)``; returns a scalar to be added to the loss per example.

``weights`` ``(S, P)`` are the draws under which the likelihood was evaluated (with local noise, other draws of the same
distribution), with their gradient; ``x`` and ``y`` are the batch of the step (or what tensors the data have), ``step``
counts from 0.
"""


class OutputTerm(ABC):
    """A :data:`Term` of the network's outputs at inputs of its own, which join the batch where that is possible."""

    @abstractmethod
    def inputs(self, x: Tensor) -> Tensor:
        """Inputs ``(K, ...)`` made for the batch ``x`` ``(N, ...)``."""

    @abstractmethod
    def value(self, outputs: Tensor) -> Tensor:
        """The term, a scalar, from outputs ``(S, K, C)`` at :meth:`inputs`."""

    @abstractmethod
    def __call__(self, weights: Tensor, x: Tensor, y: Tensor, step: int) -> Tensor:
        """The term, a scalar."""


class Objective:
    r"""The loss of one step in nats per example, :math:`(NLL + \beta\,\mathrm{KL}) / N` plus penalties and terms.

    Args:
        elbo: the bound, a Pyro loss with ``differentiable_loss``.
        model: the model.
        guide: the guide.
        num_data: the number ``N``.
        beta: temperature of the KL, a number or a function of the step.
        arguments: keyword arguments of model and guide.
        penalties: see :func:`~bayeshnet.inference.fit`.
        extra_terms: see :func:`~bayeshnet.inference.fit`.
    """

    def __init__(
        self,
        elbo: Any,
        model: Any,
        guide: Any,
        num_data: int,
        beta: float | Schedule = 1.0,
        arguments: Mapping[str, Any] | None = None,
        *,
        penalties: Sequence[Penalty] = (),
        extra_terms: Sequence[Term] = (),
    ) -> None:
        self.elbo, self.model, self.guide, self.num_data = elbo, model, guide, num_data
        self.beta = beta if callable(beta) else check_number("beta", beta, minimum=0.0)
        self.arguments = dict(arguments or {})
        self.penalties = [_of_step(penalty) for penalty in penalties]
        self._during = [penalty.during for penalty in penalties if hasattr(penalty, "during")]
        self.terms = list(extra_terms)
        if self.terms and not isinstance(elbo, ImplicitELBO):
            raise value_error(
                "extra_terms",
                expected="none with this loss",
                got=elbo,
                hint="Use ImplicitELBO, which shows its weight draws.",
            )
        if isinstance(elbo, ImplicitELBO):
            elbo.shows_weights = bool(self.terms)
        first = next((term for term in self.terms if isinstance(term, OutputTerm)), None)
        takes = first is not None and isinstance(elbo, ImplicitELBO) and elbo.takes_inputs(model, guide)
        self._joined: OutputTerm | None = first if takes else None

    def __call__(self, step: int, batch: Sequence[Tensor], lr: float) -> tuple[Tensor, Tensor | list[float]]:
        """The loss ``()`` and the record of the step, ``len(PARTS)`` numbers."""
        with ExitStack() as stack:
            for during in self._during:
                stack.enter_context(during(step))
            return self._evaluate(step, batch, lr)

    def _evaluate(self, step: int, batch: Sequence[Tensor], lr: float) -> tuple[Tensor, Tensor | list[float]]:
        beta = float(self.beta(step)) if callable(self.beta) else self.beta
        record: dict[str, Tensor | float | None] = {"beta": beta, "lr": lr}
        if isinstance(self.elbo, ImplicitELBO):
            self.elbo.beta = beta
            beside = None if self._joined is None else self._joined.inputs(batch[0])
            terms = self.elbo.terms_beside(beside, self.model, self.guide, *batch, **self.arguments)
            loss, weights, further = terms.loss / self.num_data, terms.weights, terms.beside
            record |= {"nll": terms.nll / self.num_data, "kl": terms.kl}
            record |= {"analytic": terms.analytic, "mutual_information": terms.mutual_information}
        else:
            loss = self.elbo.differentiable_loss(self.model, self.guide, *batch, **self.arguments) / self.num_data
            weights = further = None
        if self.penalties:
            penalty = _sum([p(step) for p in self.penalties])
            loss, record["penalty"] = loss + penalty, penalty
        if self.terms:
            values = [
                self._joined.value(further)
                if term is self._joined and further is not None
                else term(weights, *batch, step)
                for term in self.terms
            ]
            extra = _sum(values)
            loss, record["extra"] = loss + extra, extra
        record["loss"] = loss
        return loss, _row(record, loss.detach())


def _sum(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).sum()


def _row(record: Mapping[str, Tensor | float | None], like: Tensor) -> Tensor | list[float]:
    """The record as numbers, or as one tensor of a device that is not waited for; NaN for what is not known."""
    values = [record.get(name) for name in PARTS]
    if like.device.type == "cpu":
        return [v.item() if isinstance(v, Tensor) else math.nan if v is None else v for v in values]
    nan = like.new_tensor(float("nan"))
    return torch.stack(
        [nan if v is None else v.detach().to(nan) if isinstance(v, Tensor) else nan.new_tensor(v) for v in values]
    )


def _of_step(penalty: Callable[..., Tensor]) -> Callable[[int], Tensor]:
    """A penalty as a function of the step."""
    try:
        required = [p for p in inspect.signature(penalty).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        required = []
    return penalty if required else lambda step: penalty()
