"""The record of an estimated mutual information between weights and latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["MutualInformation"]


@dataclass(frozen=True)
class MutualInformation:
    """An estimate of ``I(w; z)`` in nats on given draws.

    Attributes:
        value: the estimate, ``()``.
        per_draw: what it is the mean of, ``(S,)``.
        standard_error: of the mean over draws, or None for a single draw.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        diagnostics: what the method can say of itself.
    """

    value: Tensor
    per_draw: Tensor
    standard_error: Tensor | None
    lower: Tensor | None = None
    upper: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
