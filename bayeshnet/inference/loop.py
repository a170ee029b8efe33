"""The loop over optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..checks import check_callable, check_mapping, refusing
from ..errors import value_error
from ..guides import BayesianModel
from ..mnets.inputs import map_tensors
from ..parallel import processes
from ..parallel.shares import own_rows, shares_data
from .batches import Batch, LoaderBatches, TensorBatches, as_batch
from .bound import check_batch
from .callbacks import EarlyStopping
from .objective import Objective, Row
from .optimizers import Stepper
from .resuming import current_keeper
from .run import Callback, Run

__all__ = ["Loop"]


_DATA = {"x", "x and y of the data", "x or net", "x, weights or net"}
"""Beginnings of messages about the data, as a network says them."""

_LOOK = 100
"""Steps between two looks at the loss on a device."""

_STATE = {"step", "stepper", "batches", "generator"}
"""Entries of the state of a run."""


class Loop:
    """The loop over steps, with the state from which it can be resumed.

    Args:
        batches: batches of data, or None for a model without data.
        objective: the loss of a step.
        transform: see :func:`~bayeshnet.inference.fit`.
        generator: of all randomness.

    Attributes:
        stepper: optimizer and schedule, to be set before the first step.
        draws: generator of weights and latents, ``generator`` unless this process has draws of its own.
    """

    stepper: Stepper

    def __init__(
        self,
        batches: TensorBatches | LoaderBatches | None,
        objective: Objective,
        transform: Callable[..., tuple[Any, ...]] | None,
        generator: torch.Generator | None,
    ) -> None:
        if transform is not None:
            check_callable("transform", transform, "a function of a batch, or None")
        self.batches, self.objective, self.transform, self.generator = batches, objective, transform, generator
        self.draws = getattr(objective.elbo, "generator", None) or generator
        self._first: Batch | None = None
        self._waits = False
        guide = objective.guide
        example = next(guide.parameters(), None) if isinstance(guide, nn.Module) else None
        self.device = example.device if example is not None else None

    def batch(self) -> Batch:
        """Return the next batch, on the guide's device; of several processes that share data out, the own part."""
        if self.batches is None:
            return ()
        if self._first is not None:
            batch, self._first = self._first, None
            return batch
        batch = self.batches.next()
        loaded = isinstance(self.batches, LoaderBatches)
        if loaded and self.transform is None:
            self._check_targets(batch)
        device = self.device
        if device is not None:
            batch = map_tensors(lambda t: t if t.device == device else t.to(device, non_blocking=True), batch)
        if self.transform is not None:
            expected = "a function of the parts of a batch, and of generator="
            batch = as_batch(refusing("transform", self.transform, expected)(*batch, generator=self.generator))
            if loaded:
                self._check_targets(batch)
        if isinstance(self.objective.model, BayesianModel):
            check_batch(batch)
        if shares_data():
            self.objective.whole = batch
            batch, self.objective.weight = own_rows(batch)
        return batch

    def _check_targets(self, batch: Batch) -> None:
        """Refuse targets without a density as a loader yields them, unless they are on a device already."""
        model = self.objective.model
        if isinstance(model, BayesianModel) and check_batch(batch)[1].device.type == "cpu":
            model.likelihood.check_targets(batch[1])

    def first(self) -> None:
        """Run the guide once on the first batch, for guides that create their parameters at their first call."""
        self._first = self.batch() if self.batches is not None else None
        with torch.no_grad():
            expected = "a guide that takes the arguments of the model"
            refusing("guide", self.objective.guide, expected)(*(self._first or ()), **self.objective.arguments)

    def go(self, run: Run, listeners: Sequence[Callback]) -> None:
        """Make steps until all planned ones are done or a callback stops the run.

        Processes that train together begin with the parameters of the first one, and end with its buffers.
        """
        modules = self._modules()
        processes().copy_first([t for module in modules for t in (*module.parameters(), *module.buffers())])
        remembers = any(isinstance(listener, EarlyStopping) for listener in listeners)  # of its state nothing is kept
        keeper = current_keeper() if processes().size == 1 and not remembers else None
        with nullcontext(None) if keeper is None else keeper.watching(self, run) as after_step:
            self._go(run, listeners, after_step)

    def _go(self, run: Run, listeners: Sequence[Callback], after_step: Callable[[], None] | None) -> None:
        """Make the steps, and call ``after_step`` after each."""
        for listener in listeners:
            listener.on_start(run)
        try:
            while run.step < run.num_steps and run.stopped is None:
                step = run.step
                rate = self.stepper.prepare(step)
                with self._checks(step - run.first_step):
                    loss, parts = self._loss(step, rate)
                    parts = self.stepper.step(loss, parts)
                run.record(parts)
                self._look(run, loss)
                for listener in listeners:
                    listener.on_step(run)
                if after_step is not None:
                    after_step()
            processes().copy_first([t for module in self._modules() for t in module.buffers()])
        finally:
            for listener in listeners:
                listener.on_end(run)

    def _checks(self, done: int) -> AbstractContextManager[None]:
        """Let Pyro look at arguments and values of distributions as it does, on a device in the first step only.

        Each look waits for the device.
        """
        return pyro.validation_enabled(False) if done and self._waits else nullcontext()

    def _look(self, run: Run, loss: Tensor) -> None:
        """Refuse a loss on a device that is NaN or infinite, at which the host looks every 100 steps and at the end.

        On the CPU the loss of each step is looked at, before the step is made.
        """
        self._waits = loss.device.type != "cpu"
        ends = run.step == run.num_steps or run.stopped is not None
        if self._waits and (ends or (run.step - run.first_step) % _LOOK == 0):
            _check_finite(loss.item(), run.step - 1)

    def _loss(self, step: int, rate: float) -> tuple[Tensor, Row]:
        """Compute the loss of a step and its record; refuse data that the network does not take, and NaN."""
        try:
            loss, parts = self.objective(step, self.batch(), rate)
        except (ValueError, TypeError) as error:
            beginning, colon, rest = str(error).partition(": expected ")
            if not colon or beginning not in _DATA:
                raise
            where = "data or net" if error.__cause__ is not None or beginning != "x" else "data or net, x"
            raise type(error)(f"{where}{colon}{rest}") from error.__cause__
        if loss.device.type == "cpu":
            _check_finite(loss.item(), step)
        return loss, parts

    def state_dict(self, step: int) -> dict[str, Any]:
        """Return the state from which to resume, besides the parameters of model and guide."""
        batches = {} if self.batches is None else self.batches.state_dict()
        generator, draws = (None if g is None else g.get_state() for g in (self.generator, self.draws))
        state = {"step": step, "stepper": self.stepper.state_dict(), "batches": batches, "generator": generator}
        return state if self.draws is self.generator else {**state, "draws": draws}

    def _modules(self) -> list[nn.Module]:
        """Return guide and model, if they are modules."""
        return [part for part in (self.objective.guide, self.objective.model) if isinstance(part, nn.Module)]

    def _generators_of_losses(self) -> list[torch.Generator]:
        """Return the generators that losses have for themselves."""
        return [g for loss in self.objective.losses for g in loss.generators if g is not self.generator]

    def can_resume(self) -> bool:
        """Return whether a snapshot holds all that steps change.

        It does not where a loader is restarted, and where an estimator trains a network of its own.
        """
        objective = self.objective
        own = getattr(objective.elbo, "estimator", None) or getattr(objective.guide, "estimator", None)
        return not isinstance(self.batches, LoaderBatches) and not isinstance(own, nn.Module)

    def snapshot(self, step: int) -> dict[str, Any]:
        """Return the state from which to resume, with that of guide and model."""
        modules = [dict(m.state_dict()) for m in self._modules()]
        states = [generator.get_state() for generator in self._generators_of_losses()]
        return {"state": self.state_dict(step), "modules": modules, "derived": states}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over a snapshot.

        Raises:
            ValueError: if guide or model have other parameters.
        """
        for module, known in zip(self._modules(), state["modules"], strict=True):
            try:
                module.load_state_dict(known)
            except RuntimeError as error:
                found = " ".join(str(error).split())
                raise value_error("state", expected="that of the same guide and model", found=found) from error
        self.load(state["state"])
        own = self._generators_of_losses()
        if len(own) != len(state["derived"]):
            expected = f"states of {len(own)} generators, which the losses have"
            raise value_error("state", expected=expected, found=f"{len(state['derived'])}")
        for generator, known in zip(own, state["derived"], strict=True):
            generator.set_state(known)

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Resume from the state of another run."""
        if state is None:
            return
        missing = _STATE - set(check_mapping("state", state, "the state of an earlier run"))
        if missing:
            raise value_error(
                "state", expected="FitResult.state of an earlier run", found=f"no {sorted(missing)} in it"
            )
        self._first = None
        self.stepper.load_state_dict(state["stepper"])
        if self.batches is not None:
            self.batches.load_state_dict(state["batches"])
        if self.generator is not None and state["generator"] is not None:
            self.generator.set_state(state["generator"])
        if self.draws is not None and self.draws is not self.generator and state.get("draws") is not None:
            self.draws.set_state(state["draws"])


def _check_finite(loss: float, step: int) -> None:
    """Refuse a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        advice = "Lower the learning rate, clip the gradient (grad_clip=...), or look for NaN in the data."
        found = f"{loss} at step {step}"
        raise value_error("data, lr or grad_clip", expected="those of a finite loss", found=found, hint=advice)
