"""What a training run is like while it goes on, what it leaves, and who is told about it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["PARTS", "Callback", "FitResult", "Run"]

PARTS = ("loss", "nll", "kl", "analytic", "mutual_information", "penalty", "extra", "beta", "lr")
"""What is recorded of each step, in nats: ``loss`` and ``nll`` per example, the others in all; NaN if unknown."""

_BLOCK = 1024


@dataclass(frozen=True)
class FitResult:
    """What a training run leaves.

    Attributes:
        history: for each name in :data:`PARTS`, its values over the steps of this run, ``(steps,)``.
        steps: steps done in all, those before a resumed run included.
        seconds: wall time of this run.
        stopped: why it ended: ``"finished"`` or what a callback said.
        state: hand it to :func:`~bayeshnet.inference.fit` to go on.
    """

    history: Mapping[str, Tensor]
    steps: int
    seconds: float
    stopped: str
    state: Mapping[str, Any]


class Run:
    """A training run as callbacks see it.

    Attributes:
        model: the model.
        guide: the guide.
        num_steps: steps planned.
        per_epoch: steps per epoch, or None without data.
        step: steps done.
        stopped: why the run is to end, or None.
    """

    def __init__(self, model: Any, guide: Any, num_steps: int, per_epoch: int | None, first_step: int = 0) -> None:
        self.model = model
        self.guide = guide
        self.num_steps = num_steps
        self.per_epoch = per_epoch
        self.step = self.first_step = first_step
        self.stopped: str | None = None
        self._begin = time.perf_counter()
        self._blocks: list[Tensor] = []
        self._rows: list[Tensor | Sequence[float]] = []
        self._last: Tensor | Sequence[float] | None = None

    def stop(self, reason: str) -> None:
        """End the run after this step."""
        self.stopped = reason

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self._begin

    @property
    def rate(self) -> float:
        """Steps per second so far."""
        return (self.step - self.first_step) / max(self.seconds, 1e-9)

    @property
    def eta(self) -> float:
        """Seconds that the rest will take at this rate."""
        return (self.num_steps - self.step) / self.rate if self.rate > 0 else float("inf")

    @property
    def parts(self) -> dict[str, float]:
        """The parts of the last step, see :data:`PARTS`; this waits for the device."""
        if self._last is None:
            return {}
        last = self._last.tolist() if isinstance(self._last, Tensor) else self._last
        return dict(zip(PARTS, last, strict=True))

    def mean(self, name: str, steps: int) -> float:
        """Mean of a part over the last ``steps`` steps of this run."""
        enough = self._rows[-steps:] if 0 < steps <= len(self._rows) else None
        values = self.history()[name][-steps:] if enough is None else _table(enough)[:, PARTS.index(name)]
        return float(values.mean()) if len(values) else float("nan")

    def record(self, values: Tensor | Sequence[float]) -> None:
        """Keep the parts of one step: numbers, or a tensor ``(len(PARTS),)`` of a device that is not waited for."""
        self._last = values
        self._rows.append(values)
        if len(self._rows) == _BLOCK:
            self._blocks.append(_table(self._rows))
            self._rows = []
        self.step += 1

    def history(self) -> dict[str, Tensor]:
        """All parts over the steps of this run, on the CPU."""
        if self._last is None:
            return {name: torch.empty(0) for name in PARTS}
        table = torch.cat([*self._blocks, *([_table(self._rows)] if self._rows else [])]).cpu()
        return dict(zip(PARTS, table.unbind(1), strict=True))


def _table(rows: Sequence[Tensor | Sequence[float]]) -> Tensor:
    """Rows of one kind as one tensor ``(len(rows), len(PARTS))``."""
    if isinstance(rows[0], Tensor):
        return torch.stack([torch.as_tensor(row) for row in rows])
    return torch.tensor(rows, dtype=torch.float64)


class Callback:
    """Is told how a training run goes on; override what you need. Call ``run.stop(reason)`` to end it."""

    def on_start(self, run: Run) -> None:
        """The run begins."""

    def on_step(self, run: Run) -> None:
        """A step was made; ``run.step`` counts it."""

    def on_end(self, run: Run) -> None:
        """The run has ended; also called when it ends by an error."""
