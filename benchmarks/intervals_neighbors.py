"""The KL of a random hypernetwork from distances between neighbors among many draws; no density is evaluated."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from intervals_truth import Network, Truth, analytic_part
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor

__all__ = ["neighbor_entropy", "neighbor_kl"]

MOST = 9
"""Coordinates of the weights up to which neighbors are near enough."""


def neighbor_kl(net: Network, seed: int) -> Truth | None:
    """Compute the KL to a standard normal prior; None if the weights have too many coordinates."""
    root = torch.linalg.qr(net.head[0] / net.sigma)[1]
    if root.shape[0] > MOST:
        return None
    gen = torch.Generator().manual_seed(seed)

    def draw(num: int) -> Tensor:
        z, eps = (torch.randn(num, n, generator=gen, dtype=torch.float64) for n in (net.latent_size, root.shape[0]))
        return net.features(z) @ root.T + eps

    entropy, error = neighbor_entropy(draw)
    analytic, scatter = analytic_part(net, seed)
    noise = 0.5 * root.shape[0] * math.log(2 * math.pi * math.e)
    return Truth(analytic - entropy + noise, error + 2 * scatter)


def neighbor_entropy(draw: Callable[[int], Tensor], num: int = 2**16, neighbors: int = 4) -> tuple[float, float]:
    """Return the entropy of a distribution of few dimensions, in nats, with its error.

    The bias falls with the number of draws like its power of -2 / d. That of four times as few draws thus tells the
    one that is left; where the distribution is not smooth, half of the change is the least that is assumed. To it
    two standard errors are added.

    Args:
        draw: returns so many vectors ``(num, d)``.
        num: number of draws.
        neighbors: the neighbor whose distance is taken.

    References:
        Kozachenko, Leonenko, "Sample estimate of the entropy of a random vector", 1987.
    """
    y = draw(num)
    d = y.shape[1]
    root = torch.linalg.cholesky(torch.cov(y.T).reshape(d, d))
    y = torch.linalg.solve_triangular(root, (y - y.mean(0)).T, upper=False).T.contiguous()
    log_ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)
    parts = [_mean_log_distance(y, neighbors), *(_mean_log_distance(part, neighbors) for part in y.chunk(4))]
    found = [d * mean + float(digamma(size) - digamma(neighbors)) + log_ball for mean, _, size in parts]
    change = abs(sum(found[1:]) / 4 - found[0])
    error = max(0.5, 1 / (4 ** (2 / d) - 1)) * change + 2 * d * parts[0][1]
    return found[0] + float(root.diagonal().log().sum()), error


def _mean_log_distance(y: Tensor, neighbors: int) -> tuple[float, float, int]:
    """Return the mean logarithm of the distance to a neighbor, its standard error, and the number of points."""
    distance = torch.from_numpy(cKDTree(y.numpy()).query(y.numpy(), [neighbors + 1])[0][:, 0]).log()
    return float(distance.mean()), 1.5 * float(distance.std()) / math.sqrt(len(y)), len(y)
