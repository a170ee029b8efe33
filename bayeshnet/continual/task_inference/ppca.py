"""Fitting a mixture of probabilistic PCAs: clusters, and principal components with a residual variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Part", "clusters", "groups", "principal"]


@dataclass(frozen=True)
class Part:
    """One Gaussian of the mixture.

    Attributes:
        mean: ``(D,)``.
        directions: orthonormal principal directions, ``(D, q)``.
        variance: variances along them, ``(q,)``.
        noise: residual variance in all other directions, ``()``.
    """

    mean: Tensor
    directions: Tensor
    variance: Tensor
    noise: Tensor


def principal(x: Tensor, num_components: int, floor: Tensor) -> Part:
    r"""Fit probabilistic PCA to ``x`` ``(N, D)`` by maximum likelihood.

    With the eigenvalues :math:`\lambda_1 \ge \lambda_2 \ge \dots` of the sample covariance, the variances along the
    first :math:`q` eigenvectors are :math:`\lambda_1 \dots \lambda_q`, and all other directions have the mean of the
    rest, :math:`\sigma^2 = \frac{1}{D-q} \sum_{i>q} \lambda_i`. No variance is below ``floor``. There are at most a
    third as many directions as examples.
    """
    count, size = x.shape
    q = min(num_components, size - 1, max(0, (count - 1) // 3))
    mean = x.mean(0)
    centered = x - mean
    unit = max(1, count - 1)
    if count > size:
        values, vectors = torch.linalg.eigh(centered.T @ centered / unit)
        variance, directions = values.flip(0)[:q], vectors.flip(1)[:, :q]
    else:
        values, vectors = torch.linalg.eigh(centered @ centered.T / unit)
        variance = values.flip(0)[:q]
        directions = torch.nn.functional.normalize(centered.T @ vectors.flip(1)[:, :q], dim=0)
    total = centered.square().sum() / unit
    noise = ((total - variance.sum()) / (size - q)).clamp(min=0)
    noise = torch.maximum(noise, floor)
    return Part(mean, directions, torch.maximum(variance, noise), noise)


def clusters(x: Tensor, most: int, least_size: int, generator: torch.Generator) -> list[Tensor]:
    """Divide ``x`` ``(N, D)`` by k-means into as many clusters of at least ``least_size`` examples as there can be.

    Args:
        x: examples.
        most: largest number of clusters.
        least_size: smallest number of examples in a cluster, unless there is only one cluster.
        generator: random generator of the initial centers.
    """
    for count in range(min(most, len(x) // max(1, least_size)), 1, -1):
        assignment = _k_means(x, count, generator)
        found = [x[assignment == k] for k in range(count)]
        if min(map(len, found)) >= least_size:
            return found
    return [x]


def _k_means(x: Tensor, count: int, generator: torch.Generator, iterations: int = 20) -> Tensor:
    """Assign the examples to clusters, ``(N,)``, by Lloyd's algorithm from k-means++ centers."""
    chosen = torch.randint(len(x), (1,), generator=generator).to(x.device)
    for _ in range(count - 1):
        gap = torch.cdist(x, x[chosen]).amin(1).square().cpu()
        # If all examples are equal to a center, any choice is as good as another.
        weight = gap if bool(gap.sum() > 0) else torch.ones_like(gap)
        chosen = torch.cat([chosen, torch.multinomial(weight, 1, generator=generator).to(x.device)])
    centers = x[chosen]
    for _ in range(iterations):
        assignment = torch.cdist(x, centers).argmin(1)
        sums = torch.zeros_like(centers).index_add(0, assignment, x)
        sizes = torch.bincount(assignment, minlength=count)[:, None]
        centers = torch.where(sizes > 0, sums / sizes.clamp(min=1), centers)
    return assignment


def groups(x: Tensor, y: Tensor | None, num_parts: int) -> list[tuple[Tensor, int]]:
    """Return the examples of each class with its number of parts.

    All examples are one group if there are no classes, or more classes than parts.
    """
    classes = None if y is None else torch.unique(y)
    if y is None or classes is None or len(classes) > num_parts:
        return [(x, num_parts)]
    return [(x[y == c], num_parts // len(classes)) for c in classes]
