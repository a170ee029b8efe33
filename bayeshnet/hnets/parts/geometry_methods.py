"""The geometry of a hypernetwork as methods, for a single question."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...geometry.base import Geometry, Precision

__all__ = ["GeometryMethods"]


class GeometryMethods:
    """Methods of :class:`bayeshnet.hnets.HyperNetInterface` that ask its :meth:`geometry` once.

    ``where`` stands for the arguments of :meth:`geometry`: ``cond_id``, ``cond_input``, ``weights``, ``condition``. For
    several questions at one condition, take ``hnet.geometry(...)`` and ask it: what they share is computed once.
    """

    def geometry(
        self, cond_id: Any = None, cond_input: Tensor | None = None, weights: Any = None, condition: Any = None
    ) -> Geometry:
        """The geometry at one condition."""
        raise TypeError(f"{type(self).__name__} has no geometry.")

    def gram(self, z: Tensor, precision: Precision = 1.0, **where: Any) -> Tensor:
        r"""Gram matrix :math:`J^\top \Lambda J` at ``z`` ``(*B, n)``: ``(*B, n, n)``."""
        return self.geometry(**where).gram(z, precision)

    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0, **where: Any) -> Tensor:
        r"""Squared distance :math:`(h(z)-c)^\top \Lambda (h(z)-c)`: ``(*B,)``."""
        return self.geometry(**where).sqdist(z, center, precision)

    def inner(self, z: Tensor, v: Tensor, **where: Any) -> Tensor:
        r"""Inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return self.geometry(**where).inner(z, v)

    def vjp(self, z: Tensor, v: Tensor, **where: Any) -> Tensor:
        r"""Vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        return self.geometry(**where).vjp(z, v)

    def rows(self, z: Tensor, index: Tensor | None = None, **where: Any) -> Tensor:
        """Rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
        return self.geometry(**where).rows(z, index)
