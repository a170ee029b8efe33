"""A compact density of a task's inputs: a mixture of a few Gaussians in a few directions, and no stored example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import check_int, check_positive, check_shape, value_error
from .image_features import ImageFeatures
from .ppca import Part, clusters, groups, principal

__all__ = ["DensitySettings", "TaskDensity", "log_densities"]


class TaskDensity(nn.Module):
    r"""Mixture of probabilistic PCAs over the inputs of one task, or over fixed features of them.

    .. math:: p(x) = \sum_k \pi_k \, N\big(x;\ \mu_k,\ U_k (\Lambda_k - \sigma_k^2 I) U_k^\top + \sigma_k^2 I\big)

    Made by :meth:`DensitySettings.fit`. All numbers are buffers of a size that the settings and the input shape fix
    beforehand, so a density is saved, loaded and moved with the module that holds it.

    Args:
        num_parts: parts :math:`K` of the mixture; unused ones have weight 0.
        num_components: directions :math:`q` of each part.
        num_features: size :math:`D` of an input, or of its features.
        features: fixed map from inputs to features ``(N, D)``; by default inputs are flattened.

    Attributes:
        log_weight: :math:`\log \pi_k`, ``(K,)``.
        mean: ``(K, D)``.
        directions: orthonormal :math:`U_k`, ``(K, D, q)``; unused ones are 0.
        variance: :math:`\Lambda_k`, ``(K, q)``.
        noise: :math:`\sigma_k^2`, ``(K,)``.
        spread: standard deviation of the log-density over the examples it was fitted to, in nats ``()``.

    References:
        Mixtures of Probabilistic Principal Component Analysers (Tipping, Bishop; 1999).
    """

    log_weight: Tensor
    mean: Tensor
    directions: Tensor
    variance: Tensor
    noise: Tensor
    spread: Tensor

    def __init__(
        self, num_parts: int, num_components: int, num_features: int, features: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.features = features if features is not None else nn.Flatten()
        self.register_buffer("log_weight", torch.full((num_parts,), -math.inf))
        self.register_buffer("mean", torch.zeros(num_parts, num_features))
        self.register_buffer("directions", torch.zeros(num_parts, num_features, num_components))
        self.register_buffer("variance", torch.zeros(num_parts, num_components))
        self.register_buffer("noise", torch.ones(num_parts))
        self.register_buffer("spread", torch.ones(()))

    @property
    def num_bytes(self) -> int:
        """Memory that the density takes."""
        return sum(b.numel() * b.element_size() for b in self.buffers())

    @property
    def mean_noise(self) -> Tensor:
        r"""Residual variance averaged over the mixture, :math:`\sum_k \pi_k \sigma_k^2`."""
        return (self.log_weight.exp() * self.noise).sum()

    def log_density(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        r"""Log-density of inputs (of their features, if there are any), in nats.

        Args:
            x: inputs ``(N, *input_shape)``.
            noise: residual variance ``()`` to use for all parts in place of their own; variances below it are raised to
                it.

        Returns:
            Of shape ``(N,)``.
        """
        features = self._features(x)
        own = self.noise if noise is None else noise.expand_as(self.noise)
        variance = torch.maximum(self.variance, own[:, None])
        # Unused directions are 0 and take the residual variance, so they count as residual.
        log_det = variance.log().sum(1) + (features.shape[1] - variance.shape[1]) * own.log()
        terms = []
        for k in range(len(own)):
            centered = features - self.mean[k]
            along = centered @ self.directions[k]
            rest = (centered.square().sum(1) - along.square().sum(1)).clamp(min=0)
            distance = (along.square() / variance[k]).sum(1) + rest / own[k]
            terms.append(self.log_weight[k] - 0.5 * (distance + log_det[k] + features.shape[1] * math.log(2 * math.pi)))
        return torch.stack(terms).logsumexp(0)

    def _features(self, x: Tensor) -> Tensor:
        features = self.features(x).to(self.mean.dtype)
        return check_shape(
            "x", features, (None, self.mean.shape[1]), "The density was made for inputs of another shape."
        )

    def _fill(self, parts: Sequence[tuple[int, Part]], count: int) -> None:
        for k, (size, part) in enumerate(parts):
            self.log_weight[k] = math.log(size / count)
            self.mean[k] = part.mean
            self.directions[k, :, : len(part.variance)] = part.directions
            self.variance[k, : len(part.variance)] = part.variance
            self.noise[k] = part.noise


@dataclass(frozen=True)
class DensitySettings:
    """How the density of each task's inputs is fitted.

    Args:
        num_parts: Gaussians per task, shared out evenly among its classes if there are at most so many.
        num_components: principal directions of each; few examples allow fewer.
        image_shape: ``(channels, height, width)`` of flattened images, to use :class:`ImageFeatures`; inputs of three
            dimensions are images without it.
        grid: of the image features; 0 uses the pixels themselves.
        floor: smallest residual variance, as a fraction of the mean variance of the features.
        seed: of the clustering.

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
        check_int("num_parts", self.num_parts, 1)
        check_int("num_components", self.num_components, 0)
        check_int("grid", self.grid, 0)
        check_positive("floor", self.floor)

    def empty(self, input_shape: Sequence[int]) -> TaskDensity:
        """A density for inputs of that shape with room for what :meth:`fit` finds, to be loaded.

        Args:
            input_shape: of one input.
        """
        image = self.image_shape or (tuple(input_shape) if len(input_shape) == 3 else None)
        features = ImageFeatures(image, self.grid) if image and self.grid else nn.Flatten()
        size = features(torch.zeros(1, *input_shape)).shape[1]
        return TaskDensity(self.num_parts, min(self.num_components, size - 1), size, features)

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor | None = None) -> TaskDensity:
        """Fit the inputs of a task.

        Each class is parted by k-means into its share of the parts, as far as each part gets three examples per
        direction, and each part is fitted by probabilistic PCA. Without classes, or with too many, all inputs are
        parted together.

        Args:
            x: inputs ``(N, *input_shape)``, at least one.
            y: class indices ``(N,)`` if there are classes.

        Raises:
            ValueError: if there is no input, or the labels do not fit the inputs.
        """
        if len(x) == 0:
            raise value_error("x", expected="at least one input", got=x)
        if y is not None:
            check_shape("y", y, (len(x),))
        density = self.empty(x.shape[1:]).to(device=x.device, dtype=x.dtype)
        features = density._features(x)
        generator = torch.Generator().manual_seed(self.seed)
        scale = features.var(0, correction=0).mean()
        floor = self.floor * torch.where(scale > 0, scale, torch.ones_like(scale))
        q = density.variance.shape[1]
        found = []
        for members, share in groups(features, y, self.num_parts):
            for cluster in clusters(members, share, 3 * (q + 1), generator):
                found.append((len(cluster), principal(cluster, q, floor)))
        density._fill(found, len(x))
        density.spread.copy_(density.log_density(x).std(correction=0).clamp(min=0.5))
        return density


def log_densities(densities: Sequence[TaskDensity], x: Tensor) -> Tensor:
    r"""Log-density of each input under each task, with one residual variance for all, in nats.

    Which of several tasks an input belongs to should not depend on which of them happens to have the plainest inputs: a
    small residual variance of its own makes a task refuse, for a few pixels, what resembles it best. All densities
    therefore use the mean of their residual variances.

    Args:
        densities: of ``T`` tasks.
        x: inputs ``(N, *input_shape)``.

    Returns:
        Of shape ``(N, T)``.
    """
    if len(densities) == 0:
        raise value_error("densities", expected="at least one density", found="none")
    noise = torch.stack([density.mean_noise for density in densities]).mean()
    return torch.stack([density.log_density(x, noise) for density in densities], dim=-1)
