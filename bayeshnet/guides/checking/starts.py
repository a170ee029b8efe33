"""Places where the components of a guide begin: the clusters of annealed particles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...rng import normal_like

__all__ = ["Start", "clusters"]

_ROUNDS, _TRIALS, _FEWEST = 30, 8, 0.25


@dataclass(frozen=True)
class Start:
    """Where a component begins.

    Attributes:
        loc: mean ``(D,)``.
        root: lower Cholesky factor of the covariance ``(D, D)``; None for a narrow sphere.
        log_share: logarithm of the component's first weight.
    """

    loc: Tensor
    root: Tensor | None
    log_share: float


@torch.no_grad()
def clusters(x: Tensor, count: int, generator: torch.Generator | None = None) -> list[Start]:
    """Return starts in ``count`` clusters of places ``(S, D)``, found by k-means in units of their spread.

    Clusters of fewer places than unknowns have their covariance drawn to its diagonal. No share is below a quarter of
    an equal one.

    Args:
        x: places.
        count: number ``K`` of clusters.
        generator: of the choice of first centers.
    """
    spread = x.std(0).clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    standard = (x - x.mean(0)) / spread
    label = min((_k_means(standard, count, generator) for _ in range(_TRIALS)), key=lambda found: found[1])[0]
    counts = torch.bincount(label, minlength=count)
    shares = counts / counts.sum()
    shares = shares.clamp_min(_FEWEST / count)
    logs: list[float] = (shares / shares.sum()).log().tolist()
    return [_start(x, label == index, spread, log_share) for index, log_share in enumerate(logs)]


def _start(x: Tensor, own: Tensor, spread: Tensor, log_share: float) -> Start:
    places = x[own]
    num, size = places.shape
    if not num:
        return Start(x[0], torch.diag(0.1 * spread), log_share)
    away = places - places.mean(0)
    covariance = away.T @ away / num
    least = (1e-3 * spread) ** 2
    diagonal = torch.diag(covariance.diagonal().clamp_min(least))
    trust = num / (num + 2.0 * size)
    root = torch.linalg.cholesky(trust * covariance + (1 - trust) * diagonal + torch.diag(1e-3 * least))
    return Start(places.mean(0), root, log_share)


def _k_means(x: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, float]:
    """Return labels ``(S,)`` and the mean squared distance; first centers are far from each other."""
    centers = x[:1]
    for _ in range(count - 1):
        nearest = torch.cdist(x, centers).min(1).values.square()
        noise = normal_like(nearest, tuple(nearest.shape), generator).abs()
        centers = torch.cat([centers, x[(nearest * noise).argmax()][None]])
    label, distance = torch.zeros(len(x), dtype=torch.long, device=x.device), math.inf
    for _ in range(_ROUNDS):
        distances = torch.cdist(x, centers)
        label = distances.argmin(1)
        distance = float(distances.min(1).values.square().mean())
        member = torch.nn.functional.one_hot(label, count).to(x)
        sizes = member.sum(0)
        means = member.T @ x / sizes.clamp_min(1.0)[:, None]
        centers = torch.where(sizes[:, None] > 0, means, centers)
    return label, distance
