"""Learning curves: the parts of the loss while a task was learnt, thinned out for the record of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from ..inference import Callback, Run

__all__ = ["Curves"]


class Curves(Callback):
    """Keeps means of the parts of the loss over blocks of steps, at most so many of them.

    Args:
        most: blocks kept.

    Attributes:
        record: ``step`` (the last of each block), ``nll`` in nats per example, ``kl`` in nats; what is unknown is left
            out.
    """

    def __init__(self, most: int = 100) -> None:
        self.most = most
        self.record: dict[str, list[float]] = {}

    def on_end(self, run: Run) -> None:
        """Thin out the history."""
        history = run.history()
        count = len(history["nll"])
        blocks = torch.arange(count).chunk(min(self.most, max(count, 1)))
        self.record = {"step": [float(run.first_step + int(block[-1]) + 1) for block in blocks if len(block)]}
        for name in ("nll", "kl"):
            means = [_mean(history[name][block]) for block in blocks if len(block)]
            if all(value == value and abs(value) != float("inf") for value in means):
                self.record[name] = means


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
