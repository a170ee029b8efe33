"""Maps to many weights, evaluated block by block."""

from __future__ import annotations

from torch import Tensor

from ..errors import check_instance, check_int, check_shape, value_error
from .base import Geometry

__all__ = ["part_of", "ranges"]


def part_of(geometry: Geometry, z: Tensor, start: int, stop: int) -> Tensor:
    """Evaluate entries ``start`` to ``stop`` of ``h(z)``, ``(*B, stop - start)``, without the others where that goes.

    Geometries of chunked hypernetworks compute the chunks that hold these entries alone (their method ``part``).
    Others compute all of them.

    Args:
        geometry: the map ``h``.
        z: latents ``(*B, n)``.
        start: first entry.
        stop: the entry after the last one.

    Example:
        >>> from bayeshnet.hnets import ChunkedHMLP
        >>> hnet = ChunkedHMLP([[20]], chunk_size=8, uncond_in_size=2, cond_in_size=0, num_cond_embs=0, verbose=False)
        >>> part_of(hnet.geometry(), hnet.geometry().draw_latent(3), 5, 11).shape
        torch.Size([3, 6])
    """
    check_instance("geometry", geometry, Geometry, "a Geometry")
    check_shape("z", z, (-1, geometry.latent_size))
    if not 0 <= check_int("start", start) < check_int("stop", stop) <= geometry.num_weights:
        expected = f"0 <= start < stop <= {geometry.num_weights}"
        raise value_error("start, stop", expected=expected, got=(start, stop))
    own = getattr(geometry, "part", None)
    return geometry(z)[..., start:stop] if own is None else own(z, start, stop)


def ranges(num: int, width: int) -> list[tuple[int, int]]:
    """Divide ``num`` entries into ranges ``(start, stop)`` of at most ``width``.

    Example:
        >>> ranges(7, 3)
        [(0, 3), (3, 6), (6, 7)]
    """
    check_int("num", num, 0)
    return [(start, min(num, start + width)) for start in range(0, num, check_int("width", width, 1))]
