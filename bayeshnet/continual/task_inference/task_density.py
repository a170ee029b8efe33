"""Density of the inputs of a task: a mixture of a few Gaussians with a few principal directions each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...checks import check_data, check_items
from ...deprecation import RenamedState, warn
from ...errors import LARGEST, check_instance, check_shape, check_size, value_error
from ...representation import ModuleSettings
from .ppca import Part

__all__ = ["TaskDensity", "log_densities"]


class TaskDensity(RenamedState, ModuleSettings, nn.Module):
    r"""Mixture of probabilistic PCAs over the inputs of one task, or over fixed features of them.

    .. math:: p(x) = \sum_k \pi_k \, N\big(x;\ \mu_k,\ U_k (\Lambda_k - \sigma_k^2 I) U_k^\top + \sigma_k^2 I\big)

    It is fitted by :meth:`DensitySettings.fit` and stores no example. All numbers are buffers whose sizes depend on the
    arguments alone, so that a density is saved, loaded and moved with the module that holds it.

    Args:
        num_parts: number :math:`K` of Gaussians; unused ones have weight 0.
        num_components: number :math:`q` of principal directions of each Gaussian.
        num_features: size :math:`D` of an input, or of its features.
        features: fixed map from inputs to features ``(N, D)``; None for flattened inputs.

    Attributes:
        log_weight: :math:`\log \pi_k`, ``(K,)``.
        mean: ``(K, D)``.
        directions: orthonormal :math:`U_k`, ``(K, D, q)``; unused ones are 0.
        variance: :math:`\Lambda_k`, ``(K, q)``.
        noise: residual variances :math:`\sigma_k^2`, ``(K,)``.
        log_density_std: standard deviation of the log-density over the fitted examples, in nats ``()``.

    References:
        Mixtures of Probabilistic Principal Component Analysers (Tipping, Bishop; 1999).
    """

    renamed_state: ClassVar[Mapping[str, str]] = {"spread": "log_density_std"}
    log_weight: Tensor
    mean: Tensor
    directions: Tensor
    variance: Tensor
    noise: Tensor
    log_density_std: Tensor

    def __init__(
        self, num_parts: int, num_components: int, num_features: int, features: nn.Module | None = None
    ) -> None:
        super().__init__()
        sizes = (check_size("num_parts", num_parts), check_size("num_features", num_features))
        if math.prod(sizes) * max(check_size("num_components", num_components, 0), 1) > LARGEST:
            expected = f"num_parts * num_components * num_features of at most {LARGEST}"
            raise value_error("num_parts", expected=expected, got=num_parts)
        if features is not None:
            check_instance("features", features, nn.Module, "a module from inputs to features, or None")
        self.features = features if features is not None else nn.Flatten()
        self.register_buffer("log_weight", torch.full((num_parts,), -math.inf))
        self.register_buffer("mean", torch.zeros(num_parts, num_features))
        self.register_buffer("directions", torch.zeros(num_parts, num_features, num_components))
        self.register_buffer("variance", torch.zeros(num_parts, num_components))
        self.register_buffer("noise", torch.ones(num_parts))
        self.register_buffer("log_density_std", torch.ones(()))

    @property
    def num_parts(self) -> int:
        """Number of Gaussians, unused ones included."""
        return self.directions.shape[0]

    @property
    def num_features(self) -> int:
        """Size of an input, or of its features."""
        return self.directions.shape[1]

    @property
    def num_components(self) -> int:
        """Number of principal directions of each Gaussian, unused ones included."""
        return self.directions.shape[2]

    @property
    def num_bytes(self) -> int:
        """Memory of the buffers, in bytes."""
        return sum(b.numel() * b.element_size() for b in self.buffers())

    @property
    def mean_noise(self) -> Tensor:
        r"""Residual variance averaged over the mixture, :math:`\sum_k \pi_k \sigma_k^2`."""
        return (self.log_weight.exp() * self.noise).sum()

    @property
    def spread(self) -> Tensor:
        """Former name of ``log_density_std``."""
        warn("TaskDensity.spread", "TaskDensity.log_density_std")
        return self.log_density_std

    def log_density(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        r"""Compute the log-density of inputs (or of their features), in nats.

        Args:
            x: inputs ``(N, *input_shape)``.
            noise: residual variance ``()`` of all parts in place of their own; variances below it are raised to it.

        Returns:
            Of shape ``(N,)``.
        """
        features = self.features_of(x)
        own = self.noise if noise is None else noise.expand_as(self.noise)
        variance = torch.maximum(self.variance, own[:, None])
        # Unused directions are zero vectors with the residual variance, so they count as residual directions.
        log_det = variance.log().sum(1) + (features.shape[1] - variance.shape[1]) * own.log()
        terms = []
        for k in range(len(own)):
            centered = features - self.mean[k]
            along = centered @ self.directions[k]
            rest = (centered.square().sum(1) - along.square().sum(1)).clamp(min=0)
            distance = (along.square() / variance[k]).sum(1) + rest / own[k]
            terms.append(self.log_weight[k] - 0.5 * (distance + log_det[k] + features.shape[1] * math.log(2 * math.pi)))
        return torch.stack(terms).logsumexp(0)

    def features_of(self, x: Tensor) -> Tensor:
        """Compute the features ``(N, D)`` of inputs."""
        features = self.features(x).to(self.mean.dtype)
        return check_shape(
            "x", features, (None, self.mean.shape[1]), "The density was made for inputs of another shape."
        )

    def fill(self, parts: Sequence[tuple[int, Part]]) -> None:
        """Set the buffers from fitted parts, each with its number of examples."""
        count = sum(size for size, _ in parts)
        for k, (size, part) in enumerate(parts):
            self.log_weight[k] = math.log(size / count)
            self.mean[k] = part.mean
            self.directions[k, :, : len(part.variance)] = part.directions
            self.variance[k, : len(part.variance)] = part.variance
            self.noise[k] = part.noise


def log_densities(densities: Sequence[TaskDensity], x: Tensor) -> Tensor:
    r"""Compute the log-density of each input under each task, with a common residual variance, in nats.

    A task with a small residual variance would reject its own inputs over a few pixels; a common variance, the mean of
    the tasks' own, avoids this.

    Args:
        densities: densities of ``T`` tasks.
        x: inputs ``(N, *input_shape)``.

    Returns:
        Of shape ``(N, T)``.
    """
    densities = check_items("densities", densities, "a list of TaskDensity", TaskDensity, 1)
    if check_data("x", x).ndim < 2:
        raise value_error("x", expected="inputs (N, *input_shape)", got=x)
    noise = torch.stack([density.mean_noise for density in densities]).mean()
    found = torch.stack([density.log_density(x, noise) for density in densities], dim=-1)
    if bool(found.isnan().any()):
        raise value_error("x", expected=f"finite inputs whose squares fit into {found.dtype}", found="others")
    return found
