"""State of a training run, its result, and the callback interface."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import check_int
from ..representation import html_table
from .plots import plot_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .bound import BoundCheck

__all__ = ["PARTS", "Callback", "FitResult", "Run"]

PARTS = ("loss", "nll", "kl", "analytic", "mutual_information", "penalty", "extra", "beta", "lr")
"""Parts of the loss that are recorded of each step, in nats; NaN if unknown.

``loss``, ``nll``, ``penalty`` and ``extra`` are per example; ``kl``, ``analytic`` and ``mutual_information`` are not
divided by the number of examples; the temperature ``beta`` and the learning rate ``lr`` have no unit.
"""

_BLOCK = 1024


@dataclass(frozen=True)
class FitResult:
    """The result of a training run.

    Attributes:
        history: for each name in :data:`PARTS`, its values over the steps of this run, ``(steps,)``.
        steps: number of steps in all, including those before a resumed run.
        seconds: wall time of this run.
        stopped: reason why it ended: ``"finished"`` or the reason that a callback gave.
        state: state to resume from, for :func:`~bayeshnet.inference.fit`.
        alarms: a sentence for each thing that is wrong with the posterior, by name: ``elbo``, ``prior``, ``collapse``,
            ``chance``; see :func:`~bayeshnet.inference.bound.fit_alarms`; ``k_hat``,
            ``modes``, ``narrow`` or ``heat`` of an automatic guide; ``fold`` where :attr:`check` does not hold.
        check: the KL of the last steps beside one whose latents are searched, for hypernetworks with noise; None where
            it was not looked for, see :func:`~bayeshnet.inference.bound.check_bound`.
    """

    history: Mapping[str, Tensor]
    steps: int
    seconds: float
    stopped: str
    state: Mapping[str, Any]
    alarms: Mapping[str, str] = field(default_factory=dict)
    check: BoundCheck | None = None

    def __repr__(self) -> str:
        """Show the run in a line: steps, time, parts of the loss at the end (means of a window), alarms."""
        parts = [f"steps={self.steps}", f"seconds={self.seconds:.1f}", f"stopped={self.stopped!r}"]
        for name, value in self.final().items():
            parts.append(f"{name}={value:.5g}")
        parts += [f"{name}={value}" for name, value in self._corrected().items()]
        return f"FitResult({', '.join(parts)}, alarms={list(self.alarms)})"

    def _repr_html_(self) -> str:
        """Show the run as a small table, in notebooks."""
        rows = {"steps": f"{self.steps:,}", "seconds": f"{self.seconds:.1f}", "stopped": self.stopped}
        rows |= {name: f"{value:.5g}" for name, value in self.final().items()} | self._corrected() | dict(self.alarms)
        return html_table(rows)

    def _corrected(self) -> dict[str, str]:
        """Return the corrected KL where the KL is too low."""
        return {} if self.check is None or self.check.holds else {"corrected_kl": f"{self.check.corrected_kl:.5g}"}

    def final(self, window: int = 100) -> dict[str, float]:
        """Return the mean of each known part of the loss over the last steps.

        Args:
            window: number of steps.
        """
        ends = {name: values[-check_int("window", window, 1) :].double() for name, values in self.history.items()}
        means = {name: values.nanmean().item() for name, values in ends.items() if len(values)}
        return {name: value for name, value in means.items() if not math.isnan(value)}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the negative ELBO and the negative log-likelihood over the steps; needs the extra ``app``.

        Args:
            ax: axes of matplotlib; those of a new figure if None.
        """
        return plot_history(self.history, ax)


class Run:
    """State of a training run, for callbacks.

    Attributes:
        model: the model.
        guide: the guide.
        num_steps: number of planned steps.
        per_epoch: steps per epoch, or None without data.
        step: number of steps so far.
        stopped: reason why the run is to end, or None.
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
        """Estimated seconds for the remaining steps."""
        return (self.num_steps - self.step) / self.rate if self.rate > 0 else float("inf")

    @property
    def parts(self) -> dict[str, float]:
        """Parts of the last step, see :data:`PARTS`; reading them waits for the device."""
        if self._last is None:
            return {}
        last = self._last.tolist() if isinstance(self._last, Tensor) else self._last
        return dict(zip(PARTS, last, strict=True))

    def mean(self, name: str, steps: int) -> float:
        """Compute the mean of a part over the last ``steps`` steps of this run."""
        enough = self._rows[-steps:] if 0 < steps <= len(self._rows) else None
        values = self.history()[name][-steps:] if enough is None else _table(enough)[:, PARTS.index(name)]
        return float(values.mean()) if len(values) else float("nan")

    def means(self, steps: int) -> dict[str, float]:
        """Compute the means of all known parts over the last ``steps`` steps of this run; reads the device once.

        Args:
            steps: number of steps; more than there are for all.
        """
        left, parts = check_int("steps", steps, 1), [_table(self._rows)] if self._rows else []
        for block in reversed(self._blocks):
            if sum(map(len, parts)) < left:
                parts.insert(0, block)
        if not parts:
            return {}
        means = torch.cat(parts)[-left:].double().mean(0).tolist()
        return {name: value for name, value in zip(PARTS, means, strict=True) if not math.isnan(value)}

    def record(self, values: Tensor | Sequence[float]) -> None:
        """Record the parts of one step, as numbers or as a tensor ``(len(PARTS),)``, without waiting for its device."""
        self._last = values
        self._rows.append(values)
        if len(self._rows) == _BLOCK:
            self._blocks.append(_table(self._rows))
            self._rows = []
        self.step += 1

    def history(self) -> dict[str, Tensor]:
        """Return all parts over the steps of this run, on the CPU."""
        if self._last is None:
            return {name: torch.empty(0) for name in PARTS}
        return dict(zip(PARTS, self.table().cpu().unbind(1), strict=True))

    def table(self) -> Tensor:
        """Return the same as one tensor ``(steps, len(PARTS))``, where it was computed."""
        rows = [_table(self._rows)] if self._rows else []
        return torch.cat([*self._blocks, *rows]) if self._last is not None else torch.empty(0, len(PARTS))

    def resume(self, step: int, table: Tensor, seconds: float) -> None:
        """Go on with a run of another process that had made ``step`` steps, recorded in ``table``.

        Its steps and its time count as those of this run.
        """
        self.step, self._blocks, self._rows = step, [table] if len(table) else [], []
        self._last = table[-1] if len(table) else None
        self._begin -= seconds


def _table(rows: Sequence[Tensor | Sequence[float]]) -> Tensor:
    """Return rows of one kind as one tensor ``(len(rows), len(PARTS))``."""
    if isinstance(rows[0], Tensor):
        return torch.stack([torch.as_tensor(row) for row in rows])
    return torch.tensor(rows, dtype=torch.float64)


class Callback:
    """Interface of callbacks: override the methods that you need. Call ``run.stop(reason)`` to end the run."""

    def on_start(self, run: Run) -> None:
        """Act at the start of the run."""

    def on_step(self, run: Run) -> None:
        """Act after a step; ``run.step`` is the number of steps so far."""

    def on_end(self, run: Run) -> None:
        """Act at the end of the run, also after an error."""
