"""Draws of long weight vectors block by block, recomputed in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..geometry.base import Geometry
from ..geometry.blocks import part_of, ranges
from ..rng import normal_like

__all__ = ["drawn_in_blocks"]


def drawn_in_blocks(
    geometry: Geometry,
    z: Tensor,
    affine: tuple[Tensor, Tensor, Tensor],
    block_size: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draw :math:`w = loc + scale \odot (h(z) + \sigma \odot \varepsilon)`, ``(S, P)``, a block of weights at a time.

    The graph holds the latents and the state of the generator of each block. The backward pass generates a block again,
    with its noise where sigma is learned, and pulls its part of the gradient back before it turns to the next one.

    Args:
        geometry: the map ``h``.
        z: latents ``(S, n)``.
        affine: sigma, loc and scale, ``()`` or ``(P,)`` each.
        block_size: weights in a block.
        generator: of the noise; None for torch's global one.
    """
    w = z.detach().new_empty(z.shape[0], geometry.num_weights)
    written = []
    for block in ranges(geometry.num_weights, block_size):
        part = _block(geometry, z, affine, block, generator)
        written.append(_Write.apply(part, w, block))  # type: ignore[no-untyped-call]
        del part
    out: Tensor = _Join.apply(w, *written)  # type: ignore[no-untyped-call]
    return out


def _block(
    geometry: Geometry,
    z: Tensor,
    affine: tuple[Tensor, Tensor, Tensor],
    block: tuple[int, int],
    generator: torch.Generator | None,
) -> Tensor:
    """Draw weights ``start`` to ``stop``."""
    start, stop = block
    sigma, loc, scale = (t[start:stop] if t.ndim else t for t in affine)
    if not (sigma.requires_grad or loc.requires_grad or scale.requires_grad):
        # The gradient of the sum needs no noise, which is then drawn once.
        h = checkpoint(part_of, geometry, z, start, stop, use_reentrant=False, preserve_rng_state=False)
        noise = normal_like(z, (z.shape[0], stop - start), generator)
        return torch.addcmul(loc, scale, torch.addcmul(h, sigma, noise))
    rewound = None if generator is None else torch.Generator(device=generator.device)
    state = None if generator is None else generator.get_state()

    def made(z: Tensor, sigma: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        if rewound is not None and state is not None:
            rewound.set_state(state)
        noise = normal_like(z, (z.shape[0], stop - start), rewound)
        return torch.addcmul(loc, scale, torch.addcmul(part_of(geometry, z, start, stop), sigma, noise))

    out: Tensor = checkpoint(made, z, sigma, loc, scale, use_reentrant=False)
    if generator is not None and rewound is not None:
        generator.set_state(rewound.get_state())
    return out


class _Write(torch.autograd.Function):
    """Writing of a block into its place; what remains of it is the edge of the graph, a tensor without content."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, w: Tensor, block: tuple[int, int]) -> Tensor:
        """Write ``part`` into ``w``, and return a stand-in of its shape."""
        w[:, block[0] : block[1]] = part
        return part.new_zeros(()).expand(part.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Pass the gradient on."""
        return grad, None, None


class _Join(torch.autograd.Function):
    """The written vector as a function of its blocks."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, *written: Tensor) -> Tensor:
        """Return ``w`` itself."""
        ctx.sizes = [part.shape[1] for part in written]
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the parts of the gradient, as views."""
        return None, *grad.split(ctx.sizes, dim=1)
