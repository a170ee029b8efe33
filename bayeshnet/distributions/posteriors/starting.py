"""Offsets that move the mean of a generated posterior to given weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...geometry.base import Geometry
from ..semi_implicit import GeneratedWeights
from .export import known_weights

__all__ = ["mean_output", "start_at"]

_PAIRS = 2048
_ENTRIES = 2**24


@torch.no_grad()
def start_at(posterior: Any, weights: Tensor, cond_id: int | None = None) -> None:
    """Move the mean of a :class:`HypernetPosterior` at a condition to ``weights`` ``(P,)``.

    Args:
        posterior: the posterior.
        weights: the new mean.
        cond_id: the condition.
    """
    known_weights(weights, posterior.weight_spec)
    law: GeneratedWeights = posterior.forward(cond_id)
    mean = mean_output(law.geometry)
    offset = law.whiten(weights.to(mean)) - mean
    bias = _output_bias(posterior)
    if bias is not None:
        zero = law.geometry.zero_latent()
        before = law.geometry(zero)
        bias += offset
        moved = posterior.forward(cond_id).geometry(zero) - before
        if torch.allclose(moved, offset, rtol=1e-3, atol=1e-4):
            return
        bias -= offset
    posterior.loc = law.loc + law.scale * offset
    posterior.scale = law.scale.clone()


@torch.no_grad()
def mean_output(geometry: Geometry) -> Tensor:
    """Compute the mean ``(P,)`` of the outputs of a map over its latents, by mirrored pairs of a Sobol sequence.

    Example:
        >>> from bayeshnet.geometry import ConstantGeometry
        >>> mean_output(ConstantGeometry(torch.ones(2), 3))
        tensor([1., 1.])
    """
    zero = geometry.zero_latent()
    if geometry.is_affine or len(zero) > torch.quasirandom.SobolEngine.MAXDIM:
        return geometry(zero)
    points = torch.quasirandom.SobolEngine(len(zero), scramble=True, seed=0).draw(_PAIRS, dtype=torch.float64)
    z = torch.special.ndtri(points.clamp(1e-9, 1 - 1e-9)).to(zero)
    size = max(1, _ENTRIES // max(1, geometry.num_weights) // 2)
    total = zero.new_zeros(geometry.num_weights)
    for part in z.split(size):
        total += geometry(torch.cat([part, -part])).sum(0)
    return total / (2 * _PAIRS)


def _output_bias(posterior: Any) -> Tensor | None:
    """Return the parameter that adds to each output of the hypernetwork, if there is one."""
    if posterior._weights is not None:
        return None
    candidates = list(posterior.hnet.unconditional_params or [])
    found = [p for p in candidates if p.shape == (posterior.hnet.num_outputs,)]
    return found[-1] if found else None
