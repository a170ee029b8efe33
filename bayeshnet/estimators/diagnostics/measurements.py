"""Measurements of a posterior: spectra, ranks, shares of variance, linearity of its map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ...distributions.base import WeightDraw
from ...distributions.semi_implicit import SemiImplicit, total
from ...geometry.linalg import precise
from ..draws import whiten_like
from ..samples.kernels import gaussian_kernel, gram_and_distances, kernel_mean, kernel_width
from ..samples.scores import stein_trace
from ..samples.ssge import spectral_matrix

__all__ = ["kernel_view", "map_view", "sample_view"]


def sample_view(q: Distribution, w: Tensor) -> dict[str, Any]:
    """Measure samples ``(S, P)``: size, standard deviations per tensor, effective rank (participation ratio)."""
    spec = getattr(q, "weight_spec", None)
    parts = spec.unflatten(w) if spec is not None else {"weights": w}
    gram, _ = gram_and_distances(w)
    return {
        "num_weights": w.shape[1],
        "std": {name: float(part.flatten(1).var(0).mean().sqrt()) for name, part in parts.items()},
        "effective_rank": float(gram.trace() ** 2 / gram.square().sum().clamp_min(torch.finfo(gram.dtype).tiny)),
    }


def kernel_view(q: Distribution, w: Tensor) -> dict[str, float]:
    """Measure what kernels resolve of the samples: their mean at the median width, and the Stein trace of SSGE."""
    x = whiten_like(q, w)
    gram, distances = gram_and_distances(x)
    width = kernel_width(distances, "median")
    kernel = gaussian_kernel(distances, width)
    matrix, kept = spectral_matrix(kernel, width)
    return {
        "kernel_width": float(width),
        "kernel_mean": float(kernel_mean(kernel)),
        "kernel_modes": float(kept.sum()),
        "stein_trace": float(stein_trace(matrix, gram, x.shape[1])),
    }


def map_view(q: SemiImplicit, draw: WeightDraw, z: Tensor) -> dict[str, Any]:
    r"""Measure singular values of :math:`J / \sigma`, shares of variance, and the nonlinear share of the map.

    The latter is :math:`E|h(z) - h(z') - J(z')(z - z')|^2 / E|h(z) - h(z')|^2` over pairs of latents, in units of
    sigma.
    """
    geometry, precision = q.geometry, q.sigma**-2
    values = torch.linalg.eigvalsh(precise(geometry.gram(z, precision))).clamp_min(0).sqrt()
    u = q.whitened(draw)
    generated = u if draw.eps is None else u - q.sigma * draw.eps
    from_map = float(precise(generated).var(0).sum())
    from_noise = float(total(q.sigma**2, geometry.num_weights))
    other = z.roll(1, 0)
    moved = geometry(z) - geometry(other)
    rest = moved - geometry.jvp(other, z - other)
    curved = float((precise(rest).square() * precision).sum())
    straight = float((precise(moved).square() * precision).sum())
    return {
        "singular_values": values.flatten(),
        "condition": float((values[:, -1] / values[:, 0].clamp_min(1e-30)).median()) if values.numel() else 1.0,
        "smallest": float(values[:, 0].median()) if values.numel() else 0.0,
        "share_from_map": from_map / (from_map + from_noise),
        "nonlinear_share": curved / straight if straight > 0 else 0.0,
    }
