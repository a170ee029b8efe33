"""The keeper of the step of a fit: it saves what the next process needs to go on with the same numbers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, final

import torch

from ...errors import value_error
from ..run import Run
from .signals import deferred_signals

__all__ = ["Resumable", "StepKeeper", "current_keeper", "keeping"]

_log = logging.getLogger(__name__)
_CURRENT: ContextVar[StepKeeper | None] = ContextVar("bayeshnet_step_keeper", default=None)


class Resumable(Protocol):
    """Protocol of a training loop whose state can be taken after a step.

    Attributes:
        device: where it computes; None for the CPU.
    """

    device: torch.device | None

    def can_resume(self) -> bool:
        """Return whether all that changes is in the snapshot."""

    def snapshot(self, step: int) -> Mapping[str, Any]:
        """Return all that the steps so far have changed, as nested mappings and lists of tensors and plain values."""

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take over a snapshot."""


@final
class StepKeeper:
    """Keeper of the step of the fits that are made in one piece of work, such as learning a task.

    A fit is known by its number in the work: the work is done anew up to the fit that was stopped, with the same seeds,
    and that fit goes on from its step; until then no step of an earlier fit takes its place. On a device of another
    kind it begins anew, since that draws other numbers.

    Args:
        save: called with a snapshot when a signal (Ctrl-C, SIGTERM) has come, and every ``interval`` seconds.
        known: the snapshot of the process that was stopped, or None.
        interval: seconds between two snapshots.
    """

    def __init__(
        self, save: Callable[[Mapping[str, Any]], None], known: Mapping[str, Any] | None = None, interval: float = 300.0
    ) -> None:
        self.save, self.known, self.interval = save, known, interval
        self.fits = 0
        self._last = time.perf_counter()

    @contextmanager
    def watching(self, loop: Resumable, run: Run) -> Iterator[Callable[[], None]]:
        """Resume the fit if it is the one that was stopped, and yield a function to be called after each step."""
        number, self.fits = self.fits, self.fits + 1
        if not loop.can_resume():
            yield _nothing
            return
        if self.known is not None and (self.known["fit"], self.known["device"]) == (number, _kind(loop)):
            self._resume(loop, run, self.known)
        with deferred_signals() as signals:

            def after_step() -> None:
                if signals.have_come or time.perf_counter() - self._last >= self.interval:
                    if not self._is_redone(number, loop):
                        self._keep({"fit": number, **_snapshot(loop, run)})
                    self._last = time.perf_counter()
                signals.release()

            yield after_step

    def _is_redone(self, number: int, loop: Resumable) -> bool:
        """Return whether a fit is made anew on the way to a later one of which a step is kept already."""
        return self.known is not None and self.known["device"] == _kind(loop) and number < self.known["fit"]

    def _keep(self, state: Mapping[str, Any]) -> None:
        """Save a snapshot; where that is not possible the training goes on, or ends, without it."""
        try:
            self.save(state)
        except (TypeError, ValueError, OSError) as error:
            _log.warning("the step is not kept: %s", " ".join(str(error).split()))

    @staticmethod
    def _resume(loop: Resumable, run: Run, known: Mapping[str, Any]) -> None:
        try:
            loop.resume(known["loop"])
            run.resume(known["step"], known["history"].to(loop.device or "cpu"), known["seconds"])
            torch.set_rng_state(known["random"])
            for number, state in enumerate(known["random of devices"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(state, number)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            found, advice = f"{type(error).__name__}: {error}", "Remove checkpoints/step.*; the task then begins anew."
            raise value_error("step", expected="a step of the same training", found=repr(found), hint=advice) from error


def current_keeper() -> StepKeeper | None:
    """Return the keeper of the steps of fits that are made here, if there is one."""
    return _CURRENT.get()


@contextmanager
def keeping(keeper: StepKeeper) -> Iterator[StepKeeper]:
    """Let ``keeper`` keep the steps of the fits within the context."""
    token = _CURRENT.set(keeper)
    try:
        yield keeper
    finally:
        _CURRENT.reset(token)


def _snapshot(loop: Resumable, run: Run) -> dict[str, Any]:
    used = torch.cuda.is_initialized()
    return {
        "step": run.step,
        "steps": run.num_steps,
        "seconds": run.seconds,
        "device": _kind(loop),
        "history": run.table(),
        "loop": loop.snapshot(run.step),
        "random": torch.get_rng_state(),
        "random of devices": torch.cuda.get_rng_state_all() if used else [],
    }


def _kind(loop: Resumable) -> str:
    """Return the kind of the device."""
    return "cpu" if loop.device is None else loop.device.type


def _nothing() -> None:
    """Do nothing after a step."""
