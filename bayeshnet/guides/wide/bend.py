"""Coordinates in which a funnel is near a standard normal: location and scales of most unknowns move with a few."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .frame import Frame
from .margins import Margins

__all__ = ["TERMS", "Bend", "BentFrame", "frame_of", "terms"]

TERMS = 4
"""Number of the terms of each leading unknown."""

_ENTRIES = 2**24
"""Most entries of what is made of a block of rows at a time."""


def terms(u: Tensor) -> Tensor:
    r"""Return :math:`u, s - 1, u / s, 1 - 1 / s` with :math:`s = \sqrt{1 + u^2}`, ``(*B, 4k)`` for ``(*B, k)``.

    They are zero at zero, and straight or level far out, with slopes of their own on each side.
    """
    s = (1 + u.square()).sqrt()
    return torch.cat([u, s - 1, u / s, 1 - 1 / s], -1)


class Bend(nn.Module):
    r"""A bijection of ``k`` leading unknowns, which stay, and ``M`` others, which they move, stretch and shear.

    .. math:: w_b = c(u_a) + (I + N(u_a)) \big(e^{d(u_a)} \odot u_b\big),

    with strictly lower triangular ``N``. Each of ``c``, ``d`` and ``N`` is linear in the :func:`terms` of the leading
    unknowns.

    Args:
        shift: coefficients of ``c``, ``(4k, M)``.
        log_scale: of ``d``, ``(4k, M)``.
        shear: of ``N``, ``(4k, M, M)``.

    Example:
        >>> slope = torch.zeros(4, 3).index_fill(0, torch.tensor(0), 0.5)
        >>> funnel = Bend(torch.zeros(4, 3), slope, torch.zeros(4, 3, 3))
        >>> w, log_density = funnel.place(torch.tensor([2.0, 1.0, 1.0, 1.0]))
        >>> [round(x, 3) for x in w.tolist()], float(log_density.sum())
        ([2.0, 2.718, 2.718, 2.718], -3.0)
    """

    def __init__(self, shift: Tensor, log_scale: Tensor, shear: Tensor) -> None:
        super().__init__()
        self.shift: Tensor
        self.log_scale: Tensor
        self.shear: Tensor
        for name, value in {"shift": shift, "log_scale": log_scale, "shear": shear}.items():
            self.register_buffer(name, value.detach().clone())

    def _split(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return leading unknowns ``(*B, k)`` and the others ``(*B, M)``."""
        leading, others = u.split([len(self.shift) // TERMS, self.shift.shape[1]], -1)
        return leading, others

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``w`` ``(*B, k + M)`` and the log-density of the change for each entry."""
        rows = u.reshape(-1, u.shape[-1])
        block = max(1, _ENTRIES // max(1, self.shear[..., 0].numel()))
        w, density = zip(*(self._placed(some) for some in rows.split(block)), strict=True)
        return torch.cat(w).reshape(u.shape), torch.cat(density).reshape(u.shape)

    def _placed(self, u: Tensor) -> tuple[Tensor, Tensor]:
        leading, others = self._split(u)
        t = terms(leading)
        log_scale = t @ self.log_scale
        scaled = others * log_scale.exp()
        sheared = (scaled @ self.shear.flatten(0, 1).mT).unflatten(-1, self.shear.shape[:2])
        moved = t @ self.shift + scaled + torch.einsum("nk,nki->ni", t, sheared)
        return torch.cat([leading, moved], -1), torch.cat([torch.zeros_like(leading), -log_scale], -1)

    def undo(self, w: Tensor) -> Tensor:
        """Return ``u`` ``(*B, k + M)``."""
        rows = w.reshape(-1, w.shape[-1])
        block = max(1, _ENTRIES // self.shift.shape[1] ** 2)
        return torch.cat([self._undone(some) for some in rows.split(block)]).reshape(w.shape)

    def _undone(self, w: Tensor) -> Tensor:
        leading, moved = self._split(w)
        t = terms(leading)
        root = torch.einsum("nk,kij->nij", t, self.shear) + torch.eye(moved.shape[-1]).to(w)
        away = (moved - t @ self.shift).unsqueeze(-1)
        scaled = torch.linalg.solve_triangular(root, away, upper=False, unitriangular=True).squeeze(-1)
        return torch.cat([leading, scaled * (-(t @ self.log_scale)).exp()], -1)


class BentFrame(nn.Module):
    """Coordinates with margins of their own for a few leading unknowns, which go straight, bend, and go straight again.

    They are not learned.

    Args:
        margins: of the leading unknowns.
        near: affine bijection of what they give.
        bend: what bends.
        far: affine bijection of what it gives.
        order: places of the unknowns ``(D,)``, the leading ones first.
    """

    def __init__(self, margins: Margins, near: Frame, bend: Bend, far: Frame, order: Tensor) -> None:
        super().__init__()
        self.margins, self.near, self.bend, self.far = margins, near, bend, far
        self.order: Tensor
        self.register_buffer("order", order.clone())

    def place(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``x`` ``(*B, D)`` and the log-density of the change for each entry."""
        x, way = u[..., self.order], torch.zeros_like(u)
        for part in (self.margins, self.near, self.bend, self.far):
            x, density = part.place(x)
            way = way + density
        back = self.order.argsort()
        return x[..., back], way[..., back]

    def undo(self, x: Tensor) -> Tensor:
        """Return ``u`` ``(*B, D)``."""
        u = x[..., self.order]
        for part in (self.far, self.bend, self.near, self.margins):
            u = part.undo(u)
        return u[..., self.order.argsort()]


def frame_of(kept: Mapping[str, Tensor], made: nn.Module | None = None) -> Frame | BentFrame | None:
    """Make coordinates of the shapes of a state, in which they are named ``frame``; None if it has none.

    Those that are ``made`` already are returned if their shapes are these; others get their dtype and device.
    """
    found = _of_shapes(kept)
    if found is None or made is None:
        return found
    shapes, own = ({name: value.shape for name, value in each.state_dict().items()} for each in (found, made))
    if shapes == own and isinstance(made, (Frame, BentFrame)):
        return made
    like = next(value for value in made.buffers() if value.is_floating_point())
    return found.to(device=like.device, dtype=like.dtype)


def _of_shapes(kept: Mapping[str, Tensor]) -> Frame | BentFrame | None:
    if "frame.root" in kept:
        return _straight(kept["frame.root"])
    if "frame.order" not in kept:
        return None
    parts = (torch.zeros_like(kept[f"frame.bend.{name}"]) for name in ("shift", "log_scale", "shear"))
    near, far = (_straight(kept[f"frame.{name}.root"]) for name in ("near", "far"))
    margins = Margins(*[torch.ones_like(kept["frame.margins.loc"])] * 4)
    return BentFrame(margins, near, Bend(*parts), far, torch.zeros_like(kept["frame.order"]))


def _straight(root: Tensor) -> Frame:
    return Frame(torch.zeros_like(root[0]), root)
