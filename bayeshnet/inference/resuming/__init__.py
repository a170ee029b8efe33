"""Training that goes on where its process was stopped: the step of a fit is kept, and signals wait for it."""

from .keeper import StepKeeper, current_keeper, keeping
from .signals import DeferredSignals, deferred_signals

__all__ = ["DeferredSignals", "StepKeeper", "current_keeper", "deferred_signals", "keeping"]
