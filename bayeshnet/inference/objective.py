"""The training loss of one step: the bound per example, and losses beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..checks import check_mapping, refusing
from ..errors import value_error
from ..guides import BayesianModel
from ..guides.likelihoods.contract import support_named
from .bound import ELBOTerms, without_loose_parameters
from .elbo import ImplicitELBO
from .losses import AddedLoss, StepContext
from .run import PARTS
from .schedules import Schedule, check_temperature

__all__ = ["Objective"]

Record = dict[str, Tensor | float | None]
"""Parts of a step by the names in :data:`~bayeshnet.inference.run.PARTS`."""

Row = Tensor | list[float]
"""The same as ``len(PARTS)`` numbers."""


_KNOWN = {"x", "y", "cond_id", "cond_input"}


class Objective:
    r"""The loss of one step in nats per example, :math:`(NLL + \beta\,\mathrm{KL}) / N` plus added losses.

    Args:
        elbo: the bound, a Pyro loss with ``differentiable_loss``.
        model: the model.
        guide: the guide.
        num_data: the number ``N``.
        beta: temperature of the KL, a number or a function of the step.
        arguments: keyword arguments of model and guide.
        losses: losses beside the bound.

    Attributes:
        weight: factor of means over a batch that is a process's part of a larger one.
        whole: the larger batch; None if there is none.
        optimizer: what trains the parameters, for a look at those of the first step; None for no such look.
        program: a function of batch and temperature that computes the bound; None for its evaluation.
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
        losses: Sequence[AddedLoss] = (),
    ) -> None:
        self.elbo, self.model, self.guide, self.num_data = elbo, model, guide, num_data
        self.beta = beta if callable(beta) else check_temperature(beta)
        self.arguments = {} if arguments is None else check_mapping("arguments", arguments, "a mapping, or None")
        unknown = set(self.arguments) - _KNOWN if isinstance(model, BayesianModel) else ()
        if unknown:
            expected = f"keyword arguments of a BayesianModel, {', '.join(sorted(_KNOWN))}"
            raise value_error("arguments", expected=expected, found=", ".join(sorted(unknown)))
        self.losses = list(losses)
        self.weight = 1.0
        self.program: Callable[..., ELBOTerms] | None = None
        self.whole: Sequence[Any] | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.needs_weights = any(loss.needs_weights for loss in self.losses)
        if self.needs_weights and not isinstance(elbo, ImplicitELBO):
            raise value_error(
                "losses, extra_terms",
                expected="none with this bound",
                got=elbo,
                hint="Use ImplicitELBO, which shows its weight draws.",
            )
        self._joining = next((loss for loss in self.losses if loss.joins_batch), None)
        self._contexts = [loss.during for loss in self.losses if hasattr(loss, "during")]

    def __call__(self, step: int, batch: Sequence[Tensor], lr: float) -> tuple[Tensor, Row]:
        """Compute the loss ``()`` and the record of the step."""
        beta = self.temperature(step)
        record: Record = {"beta": beta, "lr": lr}
        with ExitStack() as stack:
            for context in self._contexts:
                stack.enter_context(context(step))
            if self.optimizer is not None and self.program is None and not isinstance(self.model, BayesianModel):
                stack.enter_context(without_loose_parameters(self.optimizer, self.guide, self.model))
            self.optimizer = None
            loss = self._implicit(step, batch, beta, record) if self._is_implicit else self._other(step, batch, record)
        record["loss"] = loss
        return loss, _row(record, loss.detach())

    def temperature(self, step: int) -> float:
        """Return the temperature of a step."""
        return self.beta if isinstance(self.beta, float) else _scheduled(self.beta, step)

    @property
    def _is_implicit(self) -> bool:
        return isinstance(self.elbo, ImplicitELBO)

    def _implicit(self, step: int, batch: Sequence[Tensor], beta: float, record: Record) -> Tensor:
        """Evaluate the bound by :class:`~bayeshnet.inference.ImplicitELBO`, and the losses."""
        self.elbo.beta = beta
        if self.program is not None:
            return self._accelerated(step, batch, beta, record, self.program)
        evaluation = self.elbo.evaluation(
            self.model, self.guide, batch, self.arguments, with_weights=self.needs_weights
        )
        context = StepContext(step, batch, evaluation, self.whole, self.weight)
        early = self._joining(context) if self._joining is not None and evaluation.joins_inputs else None
        parts = evaluation.parts()
        terms = self.elbo.join(parts if self.weight == 1.0 else replace(parts, nll=parts.nll * self.weight))
        return self._with_losses(self._noted(terms, record), context, record, early)

    def _accelerated(
        self, step: int, batch: Sequence[Tensor], beta: float, record: Record, program: Callable[..., ELBOTerms]
    ) -> Tensor:
        """Evaluate the bound by a program that shows no weights, and the losses."""
        if self.weight != 1.0:
            raise value_error("batch_size", expected="a multiple of the number of processes", found="another one")
        loss = self._noted(program(batch, beta), record)
        return self._with_losses(loss, StepContext(step, batch, None, self.whole, self.weight), record)

    def _noted(self, terms: ELBOTerms, record: Record) -> Tensor:
        """Note the parts of the bound in the record, and return the loss per example."""
        record |= {"nll": terms.nll / self.num_data, "kl": terms.kl}
        record |= {"analytic": terms.analytic, "mutual_information": terms.mutual_information}
        return terms.loss / self.num_data

    def _other(self, step: int, batch: Sequence[Tensor], record: Record) -> Tensor:
        """Evaluate the bound by another Pyro loss, and the losses."""
        if self.weight != 1.0:
            expected = "a multiple of the number of processes, with a loss of Pyro itself"
            raise value_error("batch_size", expected=expected, found="another one")
        with support_named() if isinstance(self.model, BayesianModel) else nullcontext():
            bound = self.elbo.differentiable_loss(self.model, self.guide, *batch, **self.arguments)
        return self._with_losses(bound / self.num_data, StepContext(step, batch, None, self.whole), record)

    def _with_losses(self, loss: Tensor, context: StepContext, record: Record, early: Tensor | None = None) -> Tensor:
        """Add all losses to the bound, ``early`` being the value of the one that was evaluated before it."""
        for column in ("penalty", "extra"):
            values = [
                added(context) if early is None or added is not self._joining else early
                for added in self.losses
                if added.column == column
            ]
            if values:
                record[column] = total = values[0] if len(values) == 1 else torch.stack(values).sum()
                loss = loss + total
        return loss


def _scheduled(beta: Schedule, step: int) -> float:
    """Return the temperature of a step."""
    expected = "a number, or a function of the step that returns one"
    return check_temperature(refusing("beta", beta, expected)(step))


def _row(record: Mapping[str, Tensor | float | None], like: Tensor) -> Row:
    """Return the record as numbers, or as one tensor on a device without waiting for it; NaN for unknown parts."""
    values = [record.get(name) for name in PARTS]
    if like.device.type == "cpu":
        return [v.item() if isinstance(v, Tensor) else math.nan if v is None else v for v in values]
    numbers = (math.nan if v is None else v for v in values)
    return torch.stack([v.detach().to(like) if isinstance(v, Tensor) else like.new_full((), v) for v in numbers])
