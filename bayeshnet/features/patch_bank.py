"""Filters that are made of patches: drawn from images, whitened."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_patches", "learn_filters", "normalize_patches"]

_FLAT = 0.05
_PATCHES = 20_000


def draw_patches(maps: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Draw patches ``(n, C * side * side)`` that are not flat; all that were drawn if all are flat.

    Args:
        maps: images ``(N, C, H, W)``.
        side: side of a patch in pixels.
        generator: of the CPU.
    """
    count, _, height, width = maps.shape
    image = torch.randint(count, (_PATCHES,), generator=generator)
    row = torch.randint(height - side + 1, (_PATCHES,), generator=generator)
    column = torch.randint(width - side + 1, (_PATCHES,), generator=generator)
    views = maps.unfold(2, side, 1).unfold(3, side, 1)
    drawn = views[image.to(maps.device), :, row.to(maps.device), column.to(maps.device)].flatten(1)
    std = drawn.std(1, correction=0)
    varied = drawn[std > _FLAT * std.max()]
    return varied if len(varied) > 1 else drawn


def normalize_patches(patches: Tensor, contrast: float) -> tuple[Tensor, Tensor]:
    r"""Return patches :math:`(p - \bar p) / \sqrt{v(p) + \gamma \bar v}`, and the number :math:`\gamma \bar v`, ``()``.

    Args:
        patches: ``(n, size)``.
        contrast: the number :math:`\gamma`.
    """
    variance = patches.var(1, correction=0, keepdim=True)
    floor = contrast * variance.mean() + torch.finfo(patches.dtype).tiny
    return (patches - patches.mean(1, keepdim=True)) / (variance + floor).sqrt(), floor


def learn_filters(patches: Tensor, count: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return filters ``(count, size)`` and their offsets ``(count,)``: the first patches, whitened and of length 1.

    Args:
        patches: ``(n, size)``, not whitened.
        count: number of filters.
        epsilon: part of the mean eigenvalue that is added to each in whitening.
    """
    mean = patches.mean(0)
    centered = patches - mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
    values = values.clamp_min(0)
    raised = values + epsilon * values.mean() + torch.finfo(values.dtype).tiny
    whitening = (vectors * raised.rsqrt()) @ vectors.T
    chosen = centered[torch.arange(count, device=patches.device) % len(centered)] @ whitening
    length = chosen.norm(dim=1, keepdim=True)
    filters = torch.where(length > 0, chosen / length, torch.zeros_like(chosen)) @ whitening
    filters = filters.nan_to_num(0.0, 0.0, 0.0)
    return filters, -(filters @ mean)
