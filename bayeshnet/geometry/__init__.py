"""Geometry of maps from latents to weights: Gram matrices, squared distances and products with the Jacobian."""

from __future__ import annotations

from .base import Geometry, Precision
from .constant import ConstantGeometry
from .embedded import EmbeddedGeometry
from .head import HeadGeometry
from .jacobian import JacobianGeometry
from .selection import Selection, SelectionGeometry

__all__ = [
    "ConstantGeometry",
    "EmbeddedGeometry",
    "Geometry",
    "HeadGeometry",
    "JacobianGeometry",
    "Precision",
    "Selection",
    "SelectionGeometry",
]
