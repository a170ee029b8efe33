"""Settings and fitting of the density of a task's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...builders.networks import ToMaps
from ...checks import check_data, check_seed
from ...errors import check_finite, check_positive, check_shape, check_size, check_sizes, value_error
from ...mnets.inputs import floating_like
from ...mnets.parts.images import check_layout
from ...tasks import Task
from .image_features import ImageFeatures
from .ppca import clusters, groups, principal
from .task_density import TaskDensity, log_densities

__all__ = ["DensitySettings", "TaskDensity", "fit_density", "log_densities"]

_MOST_READ = 10_000


@dataclass(frozen=True)
class DensitySettings:
    """Settings of the density of each task's inputs, a mixture of Gaussians.

    Args:
        num_parts: number of Gaussians per task, the same number for each of its classes if there are at most so many.
        num_components: number of principal directions of each Gaussian; fewer if there are few examples.
        image_shape: ``(channels, height, width)`` of flattened images, whose density is then that of their
            :class:`ImageFeatures`; inputs with three dimensions are taken as images anyway.
        grid: number of cells along each side of an image for the features; 0 for the pixels themselves.
        floor: smallest residual variance, as a fraction of the mean variance of the features.
        seed: seed of the clustering.

    Example:
        >>> density = DensitySettings(num_parts=2, num_components=3).fit(torch.randn(50, 8), torch.arange(50) % 2)
        >>> density.log_density(torch.randn(5, 8)).shape
        torch.Size([5])
    """

    num_parts: int = 4
    num_components: int = 10
    image_shape: tuple[int, int, int] | None = None
    grid: int = 7
    floor: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_size("num_parts", self.num_parts)
        check_size("num_components", self.num_components, 0)
        check_size("grid", self.grid, 0)
        check_seed("seed", self.seed)
        if self.image_shape is not None:
            check_sizes("image_shape", self.image_shape, count=3)
        check_positive("floor", self.floor)

    def empty(self, input_shape: Sequence[Any], layout: str | None = None) -> TaskDensity:
        """Build a density with buffers of the sizes that :meth:`fit` gives them, for a checkpoint to be loaded into.

        Args:
            input_shape: shape of one input, or shapes of several, which have no density.
            layout: ``"HWC"`` for images, flattened or not, whose channels come last.
        """
        if input_shape and isinstance(input_shape[0], tuple):  # several inputs have none
            return TaskDensity(self.num_parts, 0, 1)
        own = (input_shape[2], *input_shape[:2]) if layout == "HWC" and len(input_shape) == 3 else tuple(input_shape)
        image = self.image_shape or (own if len(input_shape) == 3 else None)
        features: nn.Module = ImageFeatures(image, self.grid) if image and self.grid else nn.Flatten()
        if isinstance(features, ImageFeatures) and layout == "HWC":
            features = nn.Sequential(ToMaps(features.image_shape, layout), features)
        size = features(torch.zeros(1, *input_shape)).shape[1]
        return TaskDensity(self.num_parts, min(self.num_components, size - 1), size, features)

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor | None = None, layout: str | None = None) -> TaskDensity:
        """Fit a density to the inputs of a task.

        The inputs of each class are divided by k-means into its share of the parts, or into fewer, so that each part
        has three examples per direction; each part is then fitted by probabilistic PCA. Without classes, or with more
        classes than parts, all inputs are divided together. Integers, such as tokens, have no Gaussian density: for
        these it is left empty.

        Args:
            x: inputs ``(N, *input_shape)``, at least one.
            y: class indices ``(N,)``, if there are classes.
            layout: as for :meth:`empty`.

        Raises:
            ValueError: if there is no input, the labels do not fit the inputs, the inputs have 16 bits, or they are so
                large that their squares overflow.
        """
        check_data("x", x)
        check_layout(layout)
        if x.ndim < 2 or x.numel() == 0:
            raise value_error("x", expected="at least one input (N, ...)", got=x)
        if x.is_floating_point():
            check_finite("x", x)
        if y is not None:
            check_shape("y", check_data("y", y), (len(x),))
        if not x.is_floating_point():
            return self.empty(x.shape[1:], layout).to(x.device)
        if x.dtype not in (torch.float32, torch.float64):
            advice = "The density of a task's inputs needs more digits: convert them with x.float()."
            raise value_error("x", expected="inputs of torch.float32 or torch.float64, or integers", got=x, hint=advice)
        density = self.empty(x.shape[1:], layout).to(device=x.device, dtype=x.dtype)
        features = density.features_of(x)
        _check_room(features)
        generator = torch.Generator().manual_seed(self.seed)
        scale = features.var(0, correction=0).mean()
        floor = self.floor * torch.where(scale > 0, scale, torch.ones_like(scale))
        q = density.num_components
        parts = []
        for members, share in groups(features, y, self.num_parts):
            for cluster in clusters(members, share, 3 * (q + 1), generator):
                parts.append((len(cluster), principal(cluster, q, floor)))
        density.fill(parts)
        density.log_density_std.copy_(density.log_density(x).std(correction=0).clamp(min=0.5))
        return density


def fit_density(settings: DensitySettings, task: Task) -> TaskDensity:
    """Fit a density to the training inputs of a task, or leave it empty where inputs have none.

    Several inputs have no density, like integers. Of examples that are read from a data set at most 10,000 are taken,
    a random choice.
    """
    if isinstance(task.train.x[:1], tuple):
        return settings.empty(task.input_shape).to(floating_like(task.train.x))
    part = task.train.sample(_MOST_READ, settings.seed)
    return settings.fit(part.x, part.y if task.kind == "classification" else None, task.layout)


def _check_room(features: Tensor) -> None:
    """Refuse features for whose covariance the numbers of their dtype do not suffice."""
    largest = float(features.abs().max())
    room = torch.finfo(features.dtype).max / features.numel()
    if not largest * largest < room:  # a product that overflows is infinite, a power is an error
        found = f"some of size {largest:.3g} in {features.dtype}"
        raise value_error("x", expected="inputs whose squares do not overflow", found=found, hint="Scale the inputs.")
