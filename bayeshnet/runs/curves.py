"""Learning curves: the parts of the loss while a task is learned, averaged over blocks of steps."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ..deprecation import renamed_arguments
from ..inference import Callback, Run
from ..representation import Settings

__all__ = ["Curves"]


@final
class Curves(Settings, Callback):
    """Record means of the parts of the loss over blocks of consecutive steps.

    Args:
        max_blocks: largest number of blocks.

    Attributes:
        record: ``step`` (the last one of each block), ``nll`` in nats per example and ``kl`` in nats. Parts with
            unknown values are left out.
    """

    @renamed_arguments(most="max_blocks")
    def __init__(self, max_blocks: int = 100) -> None:
        self.max_blocks = max_blocks
        self.record: dict[str, list[float]] = {}

    def on_end(self, run: Run) -> None:
        """Average the history of the run."""
        history = run.history()
        count = len(history["nll"])
        blocks = torch.arange(count).chunk(min(self.max_blocks, max(count, 1)))
        self.record = {"step": [float(run.first_step + int(block[-1]) + 1) for block in blocks if len(block)]}
        for name in ("nll", "kl"):
            means = [_mean(history[name][block]) for block in blocks if len(block)]
            if all(value == value and abs(value) != float("inf") for value in means):
                self.record[name] = means


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
