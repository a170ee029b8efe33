"""The geometry of any differentiable map from latents to weights, by forward-mode Jacobians."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..deprecation import renamed_arguments
from ..errors import check_flags, check_floating, check_int, check_shape, check_size, type_error
from ..functional import vectorized_or_not
from ..memo import transforms_active
from ..speed import shortcuts
from .base import Geometry, Precision, split_precision
from .blocks import ranges
from .linalg import precise
from .products import products_are_double

__all__ = ["JacobianGeometry"]


class JacobianGeometry(Geometry):
    r"""Geometry of a map :math:`h` given as a function, whose Jacobian is built column by column.

    Each column :math:`J e_i` is a Jacobian-vector product; all :math:`n` are computed at once. A Gram matrix costs
    about ``n`` evaluations of ``h`` and holds ``n`` vectors of weights per latent. With ``chunk_size`` the latents are
    treated in blocks of that size, whose columns are recomputed in the backward pass, to hold one block at a time.
    With ``part`` Gram matrices and squared distances of long weight vectors are sums over blocks of weights, in double
    precision, and each block is recomputed in the backward pass: no Jacobian, and no weight vector, is held as a whole.

    Args:
        fn: the map ``(N, n) -> (N, P)``, which treats each row independently.
        latent_size: number :math:`n` of latents.
        num_weights: number :math:`P` of weights.
        like: a tensor of the dtype and on the device of the map. Latents of another precision are converted for a
            function that cannot take them.
        chunk_size: number of latents whose Jacobians are held at once, None for all.
        vectorize: compute the columns together by ``torch.func.vmap``, or one by one if it does not support the
            function; False to compute them one by one from the start.
        part: the map ``(z, start, stop)`` to entries ``start`` to ``stop`` of ``fn(z)`` alone, None if it takes as much
            as all of them.
        unit: number of weights that ``part`` generates at a time; blocks are multiples of it.

    Shape:
        As in :class:`~bayeshnet.geometry.base.Geometry`.

    Example:
        >>> geometry = JacobianGeometry(lambda z: torch.sin(z).repeat(1, 2), 3, 6, like=torch.empty(0))
        >>> geometry.gram(torch.zeros(3))
        tensor([[2., 0., 0.],
                [0., 2., 0.],
                [0., 0., 2.]])
    """

    def __init__(
        self,
        fn: Callable[[Tensor], Tensor],
        latent_size: int,
        num_weights: int,
        *,
        like: Tensor,
        chunk_size: int | None = None,
        vectorize: bool = True,
        part: Callable[[Tensor, int, int], Tensor] | None = None,
        unit: int = 1,
    ) -> None:
        if not callable(fn):
            raise type_error("fn", expected="a function of latents", got=fn)
        self.fn = fn
        self.latent_size = check_size("latent_size", latent_size)
        self.num_weights = check_size("num_weights", num_weights)
        self.chunk_size = None if chunk_size is None else check_int("chunk_size", chunk_size, 1)
        check_flags(vectorize=vectorize)
        self.vectorize = vectorize
        if part is not None and not callable(part):
            raise type_error("part", expected="a function of latents, start and stop, or None", got=part)
        self._part, self.unit = part, check_int("unit", unit, 1)
        self._like = check_floating("like", like)
        self._dtype = like.dtype
        self._converts: bool | None = None

    def zero_latent(self) -> Tensor:
        """Return a zero latent ``(n,)``."""
        return self._like.new_zeros(self.latent_size)

    def __call__(self, z: Tensor) -> Tensor:
        """Evaluate ``h(z)``: ``(*B, P)``."""
        check_shape("z", z, (-1, self.latent_size))
        flat = self._value(z.reshape(-1, self.latent_size))
        check_shape("fn", flat, (None, self.num_weights))
        return flat.reshape(*z.shape[:-1], self.num_weights)

    def _value(self, z: Tensor) -> Tensor:
        """Call the function at latents ``(N, n)``; in its own precision if it has tensors that refuse theirs."""
        if z.dtype == self._dtype:
            return self.fn(z)
        if self._converts is None:
            self._converts = _fails(self.fn, torch.zeros(1, self.latent_size, dtype=z.dtype, device=z.device))
        return self.fn(z.to(self._dtype)).to(z.dtype) if self._converts else self.fn(z)

    def part(self, z: Tensor, start: int, stop: int) -> Tensor:
        """Evaluate entries ``start`` to ``stop`` of ``h(z)``: ``(*B, stop - start)``."""
        if self._part is None:
            return self(z)[..., start:stop]
        flat = z.reshape(-1, self.latent_size).to(self._dtype)
        return self._part(flat, start, stop).reshape(*z.shape[:-1], stop - start).to(z.dtype)

    def _blocks(self, vectors: int) -> list[tuple[int, int]]:
        """Divide the weights into ranges of which ``vectors`` parts of weight vectors may be held at once."""
        if self._part is None or transforms_active():  # recomputation knows no transforms
            return [(0, self.num_weights)]
        width = shortcuts().jacobian_block // (max(1, vectors) * self.unit)
        return ranges(self.num_weights, max(1, width) * self.unit)

    def _columns(self, z: Tensor, index: Tensor | None = None, block: tuple[int, int] | None = None) -> Tensor:
        """Compute rows ``index``, or a block, of the columns of the Jacobians at ``z`` ``(N, n)``: ``(n, N, R)``."""

        def fn(x: Tensor) -> Tensor:
            if block is not None:
                return self.part(x, *block)
            return self._value(x) if index is None else self._value(x)[:, index]

        def along(axis: Tensor) -> Tensor:
            found: Tensor = torch.func.jvp(fn, (z,), (axis.expand_as(z),))[1]
            return found

        axes = torch.eye(self.latent_size, dtype=z.dtype, device=z.device)

        def looped() -> Tensor:
            return torch.stack([along(axis) for axis in axes])

        return vectorized_or_not(lambda: torch.func.vmap(along)(axes), looped) if self.vectorize else looped()

    def gram(self, z: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the Gram matrix :math:`J^\top \Lambda J` at ``z``: ``(*B, n, n)``."""
        check_shape("z", z, (-1, self.latent_size))
        values, factor = split_precision(precision, self.num_weights)
        flat = z.reshape(-1, self.latent_size)
        doubled = products_are_double()
        blocks = self._blocks(flat.shape[0] * self.latent_size)
        if len(blocks) > 1:
            parts = [None if values is None else values[a:b] for a, b in blocks]
            grams = [
                checkpoint(self._gram, flat, own, True, block, use_reentrant=False)
                for own, block in zip(parts, blocks, strict=True)
            ]
            gram = torch.stack(grams).sum(0)
        elif self.chunk_size is None or self.chunk_size >= flat.shape[0]:
            gram = self._gram(flat, values, doubled)
        else:
            some = flat.split(self.chunk_size)
            gram = torch.cat([checkpoint(self._gram, few, values, doubled, use_reentrant=False) for few in some])
        return factor * gram.reshape(*z.shape[:-1], self.latent_size, self.latent_size)

    def _gram(self, z: Tensor, values: Tensor | None, doubled: bool, block: tuple[int, int] | None = None) -> Tensor:
        columns = self._columns(z, block=block).movedim(1, 0)
        columns = precise(columns) if doubled else columns
        weighted = columns if values is None else columns * values
        return weighted @ columns.mT

    @renamed_arguments(centre="center")
    def sqdist(self, z: Tensor, center: Tensor | None = None, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-c|^2_\Lambda` to a ``center`` ``(*B', P)`` or zero: ``(*B,)``."""
        if center is not None:
            check_shape("center", center, (-1, self.num_weights))
        blocks = self._blocks(z.numel())  # as those of the Jacobian: what a part is made of takes more than the part
        if len(blocks) == 1:
            return self._norm(self(z) if center is None else self(z) - center, precision)
        check_shape("z", z, (-1, self.latent_size))
        values, factor = split_precision(precision, self.num_weights)
        sums = [checkpoint(self._squares, z, center, values, block, use_reentrant=False) for block in blocks]
        return factor * torch.stack(sums).sum(0).to(z)

    def _squares(self, z: Tensor, center: Tensor | None, values: Tensor | None, block: tuple[int, int]) -> Tensor:
        """Sum weighted squares of distances over a block of weights, in double precision."""
        start, stop = block
        x = self.part(z, start, stop)
        x = x if center is None else x - center[..., start:stop]
        return precise(x * x if values is None else x * x * values[start:stop]).sum(-1)

    def sqdist_between(self, z: Tensor, other: Tensor, precision: Precision = 1.0) -> Tensor:
        r"""Compute the squared distance :math:`|h(z)-h(z')|^2_\Lambda`: ``(*B,)``."""
        return self._norm(self(z) - self(other), precision)

    def _norm(self, x: Tensor, precision: Precision) -> Tensor:
        values, factor = split_precision(precision, self.num_weights)
        return factor * (x * x if values is None else x * x * values).sum(-1)

    def inner(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the inner product :math:`v^\top h(z)`: ``(*B,)``."""
        return (self(z) * check_shape("v", v, (-1, self.num_weights))).sum(-1)

    def against(self, v: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        r"""Return the function :math:`z, z' \mapsto v^\top (h(z) - h(z'))`."""
        check_shape("v", v, (-1, self.num_weights))
        return lambda z, other: ((self(z) - self(other)) * v).sum(-1)

    def vjp(self, z: Tensor, v: Tensor) -> Tensor:
        r"""Compute the vector-Jacobian product :math:`J^\top v` at ``z``: ``(*B, n)``."""
        check_shape("v", v, (-1, self.num_weights))
        z, v, batch = self._common(z, v)
        found: Tensor = torch.func.vjp(self._value, z)[1](v)[0].reshape(*batch, self.latent_size)
        return found

    def jvp(self, z: Tensor, t: Tensor) -> Tensor:
        r"""Compute the Jacobian-vector product :math:`J t` for tangents ``t`` ``(*B, n)``: ``(*B, P)``."""
        check_shape("t", t, (-1, self.latent_size))
        z, t, batch = self._common(z, t)
        found: Tensor = torch.func.jvp(self._value, (z,), (t,))[1].reshape(*batch, self.num_weights)
        return found

    def _common(self, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor, torch.Size]:
        """Expand ``z`` and ``v`` to matrices with one row for each element of their common batch shape."""
        check_shape("z", z, (-1, self.latent_size))
        batch = torch.broadcast_shapes(z.shape[:-1], v.shape[:-1])
        rows = [x.expand(*batch, -1).reshape(-1, x.shape[-1]) for x in (z, v)]
        return rows[0], rows[1], batch

    def rows(self, z: Tensor, index: Tensor | None = None) -> Tensor:
        """Compute rows ``index`` ``(R,)`` of the Jacobian at ``z`` (all if None): ``(*B, R, n)``."""
        check_shape("z", z, (-1, self.latent_size))
        columns = self._columns(z.reshape(-1, self.latent_size), index)
        return columns.permute(1, 2, 0).reshape(*z.shape[:-1], -1, self.latent_size)


@torch.no_grad()
def _fails(fn: Callable[[Tensor], Tensor], z: Tensor) -> bool:
    """Return whether torch refuses the latents ``z``, as it does those of another precision than a module's."""
    try:
        fn(z)
    except RuntimeError:
        return True
    return False
