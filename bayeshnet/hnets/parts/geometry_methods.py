"""Quantities of a hypernetwork's geometry as methods of the hypernetwork."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from ...deprecation import renamed_arguments
from ...geometry.base import Geometry, Precision

__all__ = ["GeometryMethods"]


class GeometryMethods(ABC):
    """Methods of :class:`bayeshnet.hnets.HyperNetInterface` that build its :meth:`geometry` for a single quantity.

    ``where`` stands for the arguments of :meth:`geometry`: ``cond_id``, ``cond_input``, ``weights``, ``condition``. For
    several quantities at one condition, use the methods of ``hnet.geometry(...)``, which shares their computations.
    """

    @abstractmethod
    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """Return the geometry at one condition."""

    def gram(self, z: Tensor, precision: Precision = 1.0, **where: Any) -> Tensor:
        r"""Compute the Gram matrix :math:`J^\top \Lambda J` at ``z`` ``(*B, n)``: ``(*B, n, n)``."""
        return self.geometry(**where).gram(z, precision)

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0, **where: Any) -> Tensor:
        r"""Compute the squared distance :math:`(h(z)-c)^\top \Lambda (h(z)-c)`: ``(*B,)``."""
        return self.geometry(**where).sqdist(z, center, precision)

    def inner(self, z: Tensor, v: Tensor, **where: Any) -> Tensor:
        r"""Compute the inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return self.geometry(**where).inner(z, v)

    def vjp(self, z: Tensor, v: Tensor, **where: Any) -> Tensor:
        r"""Compute the vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        return self.geometry(**where).vjp(z, v)

    def rows(self, z: Tensor, index: Tensor | None = None, **where: Any) -> Tensor:
        """Compute the rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
        return self.geometry(**where).rows(z, index)
