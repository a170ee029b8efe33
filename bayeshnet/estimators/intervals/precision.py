"""A check of whether the precision of a map can hold its density."""

from __future__ import annotations

import torch

from ...distributions.semi_implicit import SemiImplicit
from ...geometry.linalg import precise

__all__ = ["lost_precision"]


def lost_precision(q: SemiImplicit) -> str | None:
    """Return what is wrong if the posterior's map works in a precision too low for its density, else None.

    In single precision the Gram matrix of the Jacobian would lose its least eigenvalues. A map whose values alone are
    in single precision, while its latents are in double precision, loses less: what its values round off must be less
    than the noise.
    """
    zero = q.geometry.zero_latent()
    eps = torch.finfo(zero.dtype).eps
    narrow = eps >= _DOUBLE
    if not narrow and not _rounded(q):
        return None
    gram = precise(q.geometry.gram(zero, q.sigma**-2))
    largest = float(gram.diagonal().sum().sqrt())
    if (eps * largest**2 < 1e-2) if narrow else (_SINGLE * largest < 0.1):
        return None
    kind = str(zero.dtype).removeprefix("torch.") if narrow else "float32"
    return f"one in {kind} with singular values of the Jacobian of up to {largest:.1e} sigma: make it in float64"


_DOUBLE = 1e-12
_SINGLE = torch.finfo(torch.float32).eps


def _rounded(q: SemiImplicit) -> bool:
    """Return whether weights that depend on the latent have values in single precision."""
    geometry = q.geometry
    z = torch.arange(1.0, geometry.latent_size + 1).to(geometry.zero_latent()).sin()
    here, there = geometry(z), geometry(0.9 * z)
    return bool(((here != there) & (here == here.float()) & (there == there.float())).any())
