"""Which of Pyro's losses is evaluating a guide: some need more of a density than being right on average over draws."""

from __future__ import annotations

import sys

from pyro.infer import ELBO, RenyiELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO

__all__ = ["weighting_loss"]

_WEIGHTING = (RenyiELBO, ReweightedWakeSleep, TraceTailAdaptive_ELBO)


def weighting_loss() -> ELBO | None:
    """The loss in whose methods we are, if it weights particles by their own densities, one by one.

    Pyro does not tell a distribution who asks, so the call stack is searched for a loss.
    """
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self") if frame.f_code.co_argcount else None
        if isinstance(caller, ELBO):
            return caller if isinstance(caller, _WEIGHTING) else None
        frame = frame.f_back  # type: ignore[assignment]
    return None
