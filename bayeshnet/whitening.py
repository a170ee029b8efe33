"""Whitening: the scale of each weight under its prior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .errors import check_floating, value_error

__all__ = ["Whitening"]


@dataclass(frozen=True)
class Whitening:
    """The affine map ``w = loc + scale * u`` between whitened weights ``u`` and weights ``w``.

    Shape:
        ``loc`` and ``scale`` are ``(P,)``.
    """

    loc: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        """Refuse what is neither a floating number ``()`` nor a floating vector ``(P,)``."""
        for name, value in (("loc", self.loc), ("scale", self.scale)):
            if check_floating(name, value).ndim > 1:
                raise value_error(name, expected="a tensor () or (P,)", got=value)
