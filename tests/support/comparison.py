"""Gradients, and how far they are from each other."""

from __future__ import annotations

import torch
from torch import Tensor


def gradients(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Gradients, zeros where there is no path."""
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def cosine(a: list[Tensor], b: list[Tensor]) -> float:
    """Cosine between two lists of gradients."""
    x, y = (torch.cat([t.reshape(-1) for t in part]) for part in (a, b))
    return float(x @ y / (x.norm() * y.norm()))


def relative_error(a: list[Tensor], b: list[Tensor]) -> float:
    """Largest relative error per tensor of gradients ``a`` against ``b``."""
    return max(float((x - y).norm() / y.norm().clamp_min(1e-30)) for x, y in zip(a, b, strict=True))
