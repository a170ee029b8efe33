"""The body of a perceptron, from the latent to the last hidden activation, with its Jacobian in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import value_error
from ...layers import BatchNormLayer
from ...layers.elementwise import elementwise, pull_slope, push_slope, value_and_slope
from .mlp_forward import stretched
from .mlp_layers import MLPLayers

__all__ = ["MLPBody"]


class MLPBody:
    r"""The map :math:`z \mapsto a_c(z)` to the activations below the output head, for each chunk :math:`c`.

    Conditional input and chunk embeddings are constants, which only add to the biases of the first layer. Batch norm in
    evaluation mode is folded into the layer before it. Without hidden layers the activation is the input itself.

    Args:
        layers: the perceptron; its last layer is the head, which is not used here.
        cond: the conditional input ``(m,)``, or None.
        chunk: the chunk embeddings ``(C, e)``, or None for a single chunk without embedding.
        stats_id: identifier of the batch statistics.

    Shape:
        ``z`` ``(*B, n)``; activations ``(*B, C, H)``; their Jacobian, transposed, ``(*B, n, C, H)``.
    """

    def __init__(self, layers: MLPLayers, cond: Tensor | None, chunk: Tensor | None, stats_id: Any = None) -> None:
        self.sizes = layers.sizes
        self.act = layers.activation
        self.latent_size = layers.sizes.uncond
        self.num_chunks = 1 if chunk is None else chunk.shape[0]
        self._elementwise = elementwise(self.act)
        self._layers, self._cond, self._chunk, self._stats_id = layers, cond, chunk, stats_id

    @property
    def is_affine(self) -> bool:
        """True if the activations are an affine function of the latent."""
        return not self.sizes.layers or (self.act is None and not self.sizes.stretch)

    def _constants(self, chunks: slice) -> Tensor:
        """Concatenate chunk embeddings and conditional input of the chosen chunks: ``(C, e + m)``."""
        like = self._layers.weights[0]
        cond = like.new_empty(0) if self._cond is None else self._cond
        chunk = like.new_empty(1, 0) if self._chunk is None else self._chunk[chunks]
        return torch.cat([chunk, cond.expand(chunk.shape[0], -1)], dim=-1)

    def _hidden(self, k: int) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of hidden layer ``k``, with batch norm folded in."""
        norm = self._layers.norms[k] if self._layers.norms else None
        return _fold(self._layers.weights[k], self._layers.biases[k], norm, self._stats_id)

    def _first(self, z: Tensor, chunks: slice) -> tuple[Tensor, Tensor]:
        """Return pre-activations ``(*B, C, H)`` of the first layer and its weights ``(H, n)`` for the latent."""
        weight, bias = self._hidden(0)
        if self._chunk is None:
            x = z if self._cond is None else torch.cat([z, self._cond.expand(*z.shape[:-1], -1)], dim=-1)
            return F.linear(x, weight, bias).unsqueeze(-2), weight[:, : self.latent_size]
        w_latent, w_const = weight.split([self.sizes.uncond, self.sizes.chunk + self.sizes.cond], dim=1)
        offset = F.linear(self._constants(chunks), w_const, bias)
        return F.linear(z, w_latent).unsqueeze(-2) + offset, w_latent

    def __call__(self, z: Tensor, chunks: slice = slice(None)) -> Tensor:
        """Compute the activations of the chosen chunks at ``z``."""
        if not self.sizes.layers:
            return self._input(z, chunks)
        x = self._act(self._first(z, chunks)[0])
        for k in range(1, len(self.sizes.layers)):
            x = self._act(F.linear(x, *self._hidden(k)))
        return self._with_skip(x, stretched(self._layers, z).unsqueeze(-2))

    def push(self, z: Tensor, tangents: Tensor | None = None, chunks: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Compute activations at ``z`` and their derivatives along ``tangents`` ``(*B, m, n)`` (all axes if None).

        The derivatives are ``(*B, m, C, H)``; batch dimensions along which they are constant may have size one.
        """
        t = torch.eye(self.latent_size, dtype=z.dtype, device=z.device) if tangents is None else tangents
        if not self.sizes.layers:
            a = self._input(z, chunks)
            moved = torch.cat([t, t.new_zeros(*t.shape[:-1], a.shape[-1] - self.latent_size)], dim=-1)
            return a, moved.unsqueeze(-2).expand(*moved.shape[:-1], a.shape[-2], -1)
        x, w_latent = self._first(z, chunks)
        x, moved = self._push_act(x, F.linear(t, w_latent).unsqueeze(-2))
        for k in range(1, len(self.sizes.layers)):
            weight, bias = self._hidden(k)
            x, moved = self._push_act(F.linear(x, weight, bias), F.linear(moved, weight))
        direct, along = z, t
        stretch = self._layers.stretch
        if stretch is not None:
            factor = F.linear(z, stretch).exp()
            direct = z * factor
            along = t * factor.unsqueeze(-2) + direct.unsqueeze(-2) * F.linear(t, stretch)
        return self._with_skip(x, direct.unsqueeze(-2)), self._with_skip(moved, along.unsqueeze(-2))

    def pull(self, z: Tensor, cotangent: Tensor) -> Tensor:
        """Pull a cotangent ``(*B, C, H)`` of the activations back to the latent: ``(*B, n)``."""
        n = self.latent_size
        if not self.sizes.layers:
            return cotangent[..., :n].sum(-2).expand(*torch.broadcast_shapes(z.shape[:-1], cotangent.shape[:-2]), n)
        x, w_latent = self._first(z, slice(None))
        x, pull = self._pull_act(x)
        back = [(pull, w_latent)]
        for k in range(1, len(self.sizes.layers)):
            weight, bias = self._hidden(k)
            x, pull = self._pull_act(F.linear(x, weight, bias))
            back.append((pull, weight))
        g = cotangent[..., :-n] if self.sizes.skip else cotangent
        for pull, weight in reversed(back):
            g = pull(g) @ weight
        g = g.sum(-2)
        return g + self._pull_skip(z, cotangent[..., -n:].sum(-2)) if self.sizes.skip else g

    def _pull_skip(self, z: Tensor, cotangent: Tensor) -> Tensor:
        """Pull a cotangent ``(*B, n)`` of the output of the skip connection back to the latent."""
        stretch = self._layers.stretch
        if stretch is None:
            return cotangent
        along = cotangent * F.linear(z, stretch).exp()
        return along + (along * z) @ stretch

    def _input(self, z: Tensor, chunks: slice) -> Tensor:
        const = self._constants(chunks)
        shape = (*z.shape[:-1], const.shape[0])
        return torch.cat([z.unsqueeze(-2).expand(*shape, -1), const.expand(*shape, -1)], dim=-1)

    def _with_skip(self, x: Tensor, direct: Tensor) -> Tensor:
        if not self.sizes.skip:
            return x
        batch = torch.broadcast_shapes(x.shape[:-1], direct.shape[:-1])
        return torch.cat([x.expand(*batch, -1), direct.expand(*batch, -1)], dim=-1)

    def _act(self, x: Tensor) -> Tensor:
        if self.act is None:
            return x
        if self._elementwise:
            return self.act(x)
        return self.act(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    def _push_act(self, x: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        if self.act is None:
            return x, moved.expand(*torch.broadcast_shapes(x.unsqueeze(-3).shape, moved.shape))
        known = value_and_slope(self.act, x)
        if known is not None:
            return known[0], moved * known[1].unsqueeze(-3)
        full = moved.expand(*torch.broadcast_shapes(x.unsqueeze(-3).shape, moved.shape))
        shape = (*full.shape[:-3], *full.shape[-2:])
        value, pushed = push_slope(self.act, x.expand(shape), full.movedim(-3, 0))
        return value, pushed.movedim(0, -3)

    def _pull_act(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        act = self.act
        if act is None:
            return x, lambda g: g.expand(torch.broadcast_shapes(x.shape, g.shape))
        known = value_and_slope(act, x)
        if known is not None:
            return known[0], lambda g: g * known[1]

        def pull(g: Tensor) -> Tensor:
            shape = torch.broadcast_shapes(x.shape, g.shape)
            return pull_slope(act, x.expand(shape), g.expand(shape))

        return self._act(x), pull


def _fold(
    weight: Tensor, bias: Tensor | None, norm: tuple[BatchNormLayer, Tensor, Tensor] | None, stats_id: Any
) -> tuple[Tensor, Tensor | None]:
    """Fold batch norm with running statistics into the linear layer before it; return its weight and bias."""
    if norm is None:
        return weight, bias
    layer, gain, shift = norm
    if stats_id is None and layer.num_stats > 1:
        raise value_error(
            "condition",
            expected=f"an integer below {layer.num_stats}",
            got=None,
            hint="Batch norm has several sets of statistics.",
        )
    mean, var = layer.get_stats(stats_id)
    scale = gain * torch.rsqrt(var + layer.eps)
    moved = -mean if bias is None else bias - mean
    return weight * scale.unsqueeze(-1), moved * scale + shift
