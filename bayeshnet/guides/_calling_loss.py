"""Detection of the Pyro loss, sampler or diagnostic that evaluates a guide: some would be silently wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from pyro.infer import (
    ELBO,
    Importance,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    TraceTailAdaptive_ELBO,
    WeighedPredictive,
)
from pyro.infer.importance import vectorized_importance_weights

__all__ = ["refuse_compiled", "weighting_caller"]

_WEIGHTING = (RenyiELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO, Importance, WeighedPredictive)
_WEIGHTING_CODE = vectorized_importance_weights.__code__
_COMPILED = (JitTrace_ELBO, JitTraceEnum_ELBO, JitTraceGraph_ELBO)


def weighting_caller() -> str | None:
    """Return the name of the calling loss, sampler or diagnostic if it weights draws by their own densities."""
    for code, caller in _callers():
        if code is _WEIGHTING_CODE:
            return code.co_name
        if isinstance(caller, _WEIGHTING):
            return type(caller).__name__
        if isinstance(caller, ELBO):
            return None
    return None


def refuse_compiled() -> None:
    """Raise if the calling loss looks parameters up in Pyro's global store, where modules keep none."""
    for _, caller in _callers():
        if isinstance(caller, _COMPILED):
            raise ValueError(
                f"loss: expected one that is not compiled, got {type(caller).__name__}, which looks parameters up in "
                "Pyro's global store, where this module keeps none. Use Trace_ELBO, TraceGraph_ELBO or ImplicitELBO."
            )
        if isinstance(caller, ELBO):
            return


def _callers() -> Iterator[tuple[CodeType, Any]]:
    """Iterate over code and ``self`` of all calling functions, innermost first: Pyro does not pass the loss on."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code, frame.f_locals.get("self") if frame.f_code.co_argcount else None
        frame = frame.f_back  # type: ignore[assignment]
