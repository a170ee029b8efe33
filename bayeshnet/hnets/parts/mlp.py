"""The multilayer perceptron in hypernetworks, as functions of tensors: sizes, declarations and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import check_function, check_number, value_error
from ...layers import BatchNormLayer, SpectralNorm
from ...layers.elementwise import Activation
from ...layers.initializers import init_params

__all__ = ["MLPLayers", "MLPSizes", "MLPSubnet", "add_chunks", "run_mlp", "stretched"]


SETTLING = 15
"""Power iterations at construction."""


@dataclass(frozen=True)
class MLPSizes:
    """Sizes of a perceptron whose input is ``[unconditional, chunk embedding, conditional]``, in this order."""

    uncond: int
    chunk: int
    cond: int
    layers: tuple[int, ...]
    out: int
    use_bias: bool = True
    batch_norm: bool = False
    skip: bool = False
    stretch: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Input size of each layer, the output layer last."""
        first = self.uncond + self.chunk + self.cond
        widths = (first, *self.layers)
        return (*widths[:-1], widths[-1] + self.uncond) if self.skip else widths


@dataclass(frozen=True, eq=False)
class MLPLayers:
    """The tensors of a perceptron in one forward pass, and what lies between its layers.

    Shape:
        ``weights[k]`` ``(out, in)``; ``biases[k]`` ``(out,)`` or None; ``norms`` hold gains and shifts ``(out,)``;
        ``stretch`` ``(n, n)``, of which what is below the diagonal counts, or None.
    """

    sizes: MLPSizes
    weights: list[Tensor]
    biases: list[Tensor | None]
    norms: list[tuple[BatchNormLayer, Tensor, Tensor]]
    activation: Activation
    dropout: nn.Module | None
    stretch: Tensor | None = None


class MLPSubnet(nn.Module):
    """What a perceptron in a hypernetwork has besides its tensors: activation, dropout, norms."""

    def __init__(
        self, sizes: MLPSizes, activation_fn: Activation, dropout_rate: float, use_spectral_norm: bool, internal: bool
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.activation_fn = check_function("activation_fn", activation_fn)
        rate = check_number("dropout_rate", dropout_rate)
        if rate != -1 and not 0 <= rate <= 1:
            raise value_error(
                "dropout_rate", expected="a number in [0, 1), or -1 (or 1) for no dropout", got=dropout_rate
            )
        self.dropout = nn.Dropout(rate) if 0 < rate < 1 else None
        norms = [BatchNormLayer(size, affine=internal) for size in sizes.layers] if sizes.batch_norm else []
        self.norms = nn.ModuleList(norms)
        shapes = list(zip(sizes.layers, sizes.widths, strict=False))
        self.spectral = nn.ModuleList([SpectralNorm(shape) for shape in shapes]) if use_spectral_norm else None

    def declare(self, net: Any, internal: bool) -> None:
        """Declare gains and shifts, then weights and biases, in ``net``, and initialize them as linear layers are."""
        for i, norm in enumerate(self.norms):
            for name, key in (("bn_scale", "scale"), ("bn_shift", "bias")):
                home = (norm, key) if internal else None
                net._declare((self.sizes.layers[i],), name, 2 * i + 2, internal=internal, group="uncond", home=home)
        outs = (*self.sizes.layers, self.sizes.out)
        for i, (size_out, size_in) in enumerate(zip(outs, self.sizes.widths, strict=True)):
            weight = net._declare((size_out, size_in), "weight", 2 * i + 1, internal=internal, group="uncond")
            bias = None
            if self.sizes.use_bias:
                bias = net._declare((size_out,), "bias", 2 * i + 1, internal=internal, group="uncond")
            if weight is not None:
                init_params(weight, bias)
        if self.sizes.stretch:
            stretch = net._declare(
                (self.sizes.uncond,) * 2, None, -1, internal=internal, group="uncond", label="stretch"
            )
            if stretch is not None:
                nn.init.zeros_(stretch)
        if self.spectral is not None and internal:
            self._settle(net.layer_weight_tensors)

    def _settle(self, weights: Sequence[Tensor]) -> None:
        """Let the estimates of the spectral norms converge, so that they are right before any training step."""
        for norm, weight in zip(self.spectral or (), weights, strict=False):
            for _ in range(SETTLING):
                norm(weight)

    def layers(self, tensors: Sequence[Tensor]) -> MLPLayers:
        """The layers made of ``tensors``, given in the order of :meth:`declare`."""
        start = 2 * len(self.norms)
        norms = [(norm, tensors[2 * i], tensors[2 * i + 1]) for i, norm in enumerate(self.norms)]
        count = len(self.sizes.layers) + 1
        step = 2 if self.sizes.use_bias else 1
        weights = list(tensors[start : start + step * count : step])
        biases = list(tensors[start + 1 : start + step * count : step]) if self.sizes.use_bias else [None] * count
        if self.spectral is not None:
            weights[:-1] = [norm(weight) for norm, weight in zip(self.spectral, weights, strict=False)]
        stretch = tensors[start + step * count].tril(-1) if self.sizes.stretch else None
        bare = self.activation_fn, self.dropout, stretch
        return MLPLayers(self.sizes, weights, biases, norms, *bare)  # type: ignore[arg-type]


def run_mlp(
    layers: MLPLayers, uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None = None, stats_id: Any = None
) -> Tensor:
    """Outputs for unconditional and conditional inputs and, if there are chunks, for each chunk embedding.

    Shape:
        ``uncond`` ``(B, n)``, ``cond`` ``(B, m)``, ``chunk`` ``(C, e)`` or ``(B, C, e)`` (each ``B`` may be 1); result
        ``(B, out)``, with chunks ``(B, C, out)``.
    """
    chunks = 0 if chunk is None else chunk.shape[-2]
    x = _first_layer(layers, uncond, cond, chunk)
    if len(layers.weights) == 1:
        return x.unflatten(0, (-1, chunks)) if chunks and x.ndim == 2 else x
    relu = type(layers.activation) is nn.ReLU
    if x.ndim == 3 and (layers.norms or layers.dropout is not None or not relu):
        x = x.flatten(0, 1)
    for i in range(1, len(layers.weights)):
        if layers.norms:
            norm, scale, shift = layers.norms[i - 1]
            x = norm(x, weight=scale, bias=shift, stats_id=stats_id)
        if layers.dropout is not None:
            x = layers.dropout(x)
        if relu:
            # The layer's output is used here only, and no derivative needs it. It is no view, which would be copied.
            x = torch.relu_(x)
        elif layers.activation is not None:
            x = layers.activation(x)
        if x.ndim == 3:
            x = x.flatten(0, 1)
        if layers.sizes.skip and i == len(layers.weights) - 1:
            direct = _spread(uncond, x.shape[0], chunks)
            x = torch.cat([x, stretched(layers, direct)], dim=-1)
        x = F.linear(x, layers.weights[i], layers.biases[i])
    return x.unflatten(0, (-1, chunks)) if chunks else x


def stretched(layers: MLPLayers, z: Tensor) -> Tensor:
    """What the skip connection makes of latents ``(..., n)``."""
    return z if layers.stretch is None else z * F.linear(z, layers.stretch).exp()


def _spread(uncond: Tensor | None, rows: int, chunks: int) -> Tensor:
    """The unconditional input ``(B, n)`` for each of ``rows = B * chunks`` rows."""
    if uncond is None:
        raise value_error("uncond_input", expected="an input for the linear skip connection", got=None)
    if chunks:
        return uncond.unsqueeze(1).expand(rows // chunks, chunks, -1).reshape(rows, -1)
    return uncond.expand(rows, -1)


def _first_layer(layers: MLPLayers, uncond: Tensor | None, cond: Tensor | None, chunk: Tensor | None) -> Tensor:
    """The first layer, linear in its three inputs: each part is computed once, and the parts are added.

    Shape:
        result ``(B, H)``, or with ``C`` chunks ``(B * C, H)`` or ``(B, C, H)``.
    """
    weight, bias = layers.weights[0], layers.biases[0]
    parts = [part for part in (uncond, cond) if part is not None]
    batch = max([1, *(part.shape[0] for part in parts)])
    if chunk is None:
        whole = [part.expand(batch, -1) for part in parts]
        return F.linear(whole[0] if len(whole) == 1 else torch.cat(whole, dim=1), weight, bias)
    sizes = layers.sizes
    rows = max(batch, chunk.shape[0] if chunk.ndim == 3 else 1) * chunk.shape[-2]
    if rows <= weight.shape[1]:
        # Fewer rows than columns: joining the inputs costs less than the gradients of the weight's parts.
        shape = (rows // chunk.shape[-2], chunk.shape[-2], -1)
        mid = [part.unsqueeze(1).expand(shape) for part in parts]
        joined = [*mid[: uncond is not None], chunk.expand(shape), *mid[uncond is not None :]]
        return F.linear(torch.cat(joined, dim=-1).flatten(0, 1), weight, bias)
    w_uncond, w_chunk, w_cond = weight.split([sizes.uncond, sizes.chunk, sizes.cond], dim=1)
    shared = [F.linear(x, w) for x, w in ((uncond, w_uncond), (cond, w_cond)) if x is not None]
    return add_chunks(chunk, w_chunk, bias, shared)


def add_chunks(chunk: Tensor, weight: Tensor, bias: Tensor | None, shared: Sequence[Tensor]) -> Tensor:
    """A linear layer of chunk embeddings ``(C, e)`` or ``(B, C, e)`` plus what chunks share ``(B, H)``.

    The result is ``(B, C, H)``, or ``(C, H)`` if all chunk embeddings and shared parts are those of one sample. What is
    shared by all samples as well joins the bias, so that it costs no tensor of the size of the result.
    """
    for part in shared:
        if part.shape[0] == 1:
            bias = part[0] if bias is None else bias + part[0]
    own = [part for part in shared if part.shape[0] != 1]
    if own and chunk.ndim == 3 and chunk.shape[0] == own[0].shape[0]:
        first = own.pop(0) if bias is None else own.pop(0) + bias  # the product is added to it: no sum of their size
        x = torch.baddbmm(first.unsqueeze(1), chunk, weight.t().expand(chunk.shape[0], -1, -1))
    else:
        x = F.linear(chunk, weight, bias)
    for part in own:
        x = x + part.unsqueeze(1)
    return x
