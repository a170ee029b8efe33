"""A check of whether the precision of a map can hold its density."""

from __future__ import annotations

import torch

from ...distributions.semi_implicit import SemiImplicit
from ...geometry.linalg import precise

__all__ = ["lost_precision"]


def lost_precision(q: SemiImplicit) -> str | None:
    """Return what is wrong if the posterior's map works in a precision too low for its density, else None."""
    zero = q.geometry.zero_latent()
    eps = torch.finfo(zero.dtype).eps
    if eps < 1e-12:
        return None
    gram = precise(q.geometry.gram(zero, q.sigma**-2))
    largest = float(gram.diagonal().sum().sqrt())
    if eps * largest**2 < 1e-2:
        return None
    kind = str(zero.dtype).removeprefix("torch.")
    return f"one in {kind} with singular values of the Jacobian of up to {largest:.1e} sigma: make it in float64"
