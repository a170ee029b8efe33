"""Data of the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from torch import Tensor

from ..deprecation import renamed_argument

__all__ = ["Bands", "FigureData", "Planes"]


@dataclass(frozen=True)
class Planes:
    """Predictions over a square of the plane.

    Args:
        entropy: predictive entropy under each task in nats ``(T, G, G)``; rows are the second coordinate, ascending.
        extent: smallest and largest coordinate of the square.
        inputs: training inputs of each task, ``(N_t, 2)`` each.
        targets: classes of the training inputs, ``(N_t,)`` each.
        task: task inferred at each point ``(G, G)``; None if it is not to be drawn.
    """

    entropy: Tensor
    extent: tuple[float, float]
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    task: Tensor | None = None


@dataclass(frozen=True)
class Bands:
    """Predictions along a line.

    Args:
        x: points of the line ``(G,)``.
        mean: predictive mean under each task ``(T, G)``.
        std: predictive standard deviation ``(T, G)``, without the noise of the targets.
        inputs: training inputs of each task, ``(N_t,)`` each.
        targets: targets of the training inputs, ``(N_t,)`` each.
        truth: inputs and noise-free values of each task, if known: pairs of ``(M,)``.
    """

    x: Tensor
    mean: Tensor
    std: Tensor
    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    truth: Sequence[tuple[Tensor, Tensor]] = ()


@dataclass(frozen=True)
class FigureData:
    """Data of the figures of a run. Every part is optional; figures whose data are missing are not drawn.

    Args:
        probs: predictive class probabilities of the test inputs with the task given ``(N, C)``.
        targets: classes of the test inputs ``(N,)``.
        entropy_own: predictive entropy of test inputs under their own task ``(N,)``, in nats.
        entropy_other: predictive entropy of test inputs under the other tasks ``(M,)``, in nats.
        entropy_ood: smallest entropy over the tasks for each set of OOD inputs.
        weights: images ``(K, H, W)`` of generated first-layer weights, by task.
        planes: predictions over the plane, for inputs with two entries.
        bands: predictions along a line, for inputs with one entry.
        training: learning curve of each task: ``step``, ``nll`` (nats per example) and ``kl`` (nats).
        entropy_foreign: old name of ``entropy_ood``.
    """

    probs: Tensor | None = None
    targets: Tensor | None = None
    entropy_own: Tensor | None = None
    entropy_other: Tensor | None = None
    entropy_ood: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    planes: Planes | None = None
    bands: Bands | None = None
    training: Sequence[Mapping[str, Sequence[float]]] = ()
    entropy_foreign: InitVar[Mapping[str, Tensor] | None] = None

    def __post_init__(self, entropy_foreign: Mapping[str, Tensor] | None) -> None:
        """Accept the old name of ``entropy_ood``."""
        if entropy_foreign is not None:
            ood = renamed_argument("entropy_foreign", "entropy_ood", entropy_foreign, self.entropy_ood or None)
            object.__setattr__(self, "entropy_ood", ood)
