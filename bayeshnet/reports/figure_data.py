"""Data of the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from torch import Tensor

from ..checks import check_all, check_data, check_items, check_mapping
from ..deprecation import renamed_argument
from ..errors import check_finite, check_floating, check_instance, check_number, check_shape, describe, value_error

__all__ = ["Bands", "FigureData", "Planes"]


def _two(argument: str, values: Any) -> tuple[Any, Any]:
    """Return two entries."""
    entries = check_items(argument, values, "two entries")
    if len(entries) != 2:
        raise value_error(argument, expected="two entries", found=f"{len(entries)}")
    return entries[0], entries[1]


def _check_points(inputs: Any, targets: Any, count: int, size: int) -> None:
    """Check inputs of ``size`` entries and targets of ``count`` tasks."""
    many = len(check_all("inputs", inputs, Tensor, "a list of tensors, one per task"))
    if many not in (0, count) or len(check_all("targets", targets, Tensor, "a list of tensors, one per task")) != many:
        raise value_error("inputs, targets", expected=f"one tensor for each of {count} tasks", found=f"{many}")
    for x, y in zip(inputs, targets, strict=True):
        check_finite("inputs", check_data("inputs", x))
        check_finite("targets", check_data("targets", y))
        if y.ndim != 1 or x.numel() != size * len(y) or not len(y):
            raise value_error("inputs, targets", expected="as many inputs as targets (N,)", found=f"{describe((x, y))}")


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

    def __post_init__(self) -> None:
        """Check shapes."""
        entropy = check_finite("entropy", check_data("entropy", check_floating("entropy", self.entropy)))
        if entropy.ndim != 3 or entropy.shape[1] != entropy.shape[2] or not entropy.numel():
            raise value_error("entropy", expected="a tensor (T, G, G)", got=entropy)
        low, high = (check_number("extent", end) for end in _two("extent", self.extent))
        if low >= high:
            raise value_error("extent", expected="the smallest and the largest coordinate", got=self.extent)
        _check_points(self.inputs, self.targets, len(entropy), 2)
        if self.task is not None:
            check_shape("task", check_data("task", self.task), tuple(entropy.shape[1:]))


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

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shape("x", check_finite("x", check_data("x", self.x)), (None,))
        mean = check_finite("mean", check_data("mean", check_floating("mean", self.mean)))
        check_shape("mean", mean, (None, len(self.x)))
        check_shape("std", check_finite("std", check_data("std", check_floating("std", self.std))), tuple(mean.shape))
        _check_points(self.inputs, self.targets, len(mean), 1)
        for pair in check_items("truth", self.truth, "pairs of inputs and values (M,)"):
            for part in _two("truth", pair):
                check_finite("truth", check_data("truth", part))


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
        """Accept the old name of ``entropy_ood``, and check types."""
        for name in ("probs", "targets", "entropy_own", "entropy_other"):
            if getattr(self, name) is not None:
                check_data(name, getattr(self, name))
        for name in ("entropy_ood", "weights"):
            check_mapping(name, getattr(self, name), "a mapping from names to tensors", Tensor)
        if self.planes is not None:
            check_instance("planes", self.planes, Planes, "Planes, or None")
        if self.bands is not None:
            check_instance("bands", self.bands, Bands, "Bands, or None")
        check_items("training", self.training, "a mapping of numbers by step for each task", Mapping)
        if entropy_foreign is not None:
            ood = renamed_argument("entropy_foreign", "entropy_ood", entropy_foreign, self.entropy_ood or None)
            object.__setattr__(self, "entropy_ood", ood)
