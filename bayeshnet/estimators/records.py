"""The records that estimators return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["KLEstimate", "MutualInformation"]


@dataclass(frozen=True)
class KLEstimate:
    r"""An estimate of :math:`\mathrm{KL}(q \| p)` in nats.

    Attributes:
        value: the estimate (no gradient), or None when the method has none.
        surrogate: scalar whose gradient is the method's gradient of the KL; its value has no meaning of its own.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        diagnostics: further results of the method, some of them computed at first access. Where the KL is computed in
            two parts, they are ``analytic`` and ``mutual_information`` (``value = analytic - mutual_information``), and
            ``standard_error`` is that of the value.
    """

    value: Tensor | None
    surrogate: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MutualInformation:
    """An estimate of ``I(w; z)`` in nats on given draws.

    Attributes:
        value: the estimate, ``()``.
        per_draw: the terms that it is the mean of, ``(S,)``.
        standard_error: of the mean over draws, or None for a single draw.
        lower: lower estimate, or None.
        upper: upper estimate, or None.
        diagnostics: further results of the method.
    """

    value: Tensor
    per_draw: Tensor
    standard_error: Tensor | None
    lower: Tensor | None = None
    upper: Tensor | None = None
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
